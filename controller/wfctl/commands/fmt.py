"""`wfctl fmt`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from wfctl import documents, findings
from wfctl.cli import Verb, with_settings
from wfctl.documents import Document
from wfctl.errors import BadUsage, InvalidWorkflow
from wfctl.settings import Settings


@click.command(cls=Verb)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 when a file is in another form.")
@with_settings
def fmt(settings: Settings, files: tuple[str, ...], *, check: bool) -> int:
    """Rewrite documents in their canonical form: what runs first and sorted, layout after it.

    `-` reads standard input and writes standard output.
    """
    from wfctl.checking import read_document

    different = []
    for document in documents.read(files):
        value, found = read_document(document)
        if value is None:
            findings.show(found, settings)
            return InvalidWorkflow.exit_code
        if _rewrite(document, value, check=check):
            different.append(document)
    for document in different:
        if document.source != "-":
            click.echo(document.source)
    return 1 if check and different else 0


def _rewrite(document: Document, value: object, *, check: bool) -> bool:
    """Write the canonical form where it differs; returns whether it did."""
    from treadle.workflow import canonical

    text = canonical(value).encode()
    if document.source == "-" and not check:
        sys.stdout.buffer.write(text)
    elif text != document.data and not check:
        _replace(Path(document.source), text)
    return text != document.data


def _replace(path: Path, data: bytes) -> None:
    """Replace a file at once: a crash leaves the old or the new one, never half."""
    path = path.resolve()  # a link goes on pointing at it
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(data)
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    except OSError as exc:
        fresh.unlink(missing_ok=True)
        raise BadUsage(f"{path} can't be written: {exc.strerror or exc}") from exc
