"""`wfctl validate`."""

from __future__ import annotations

import click

from wfctl import documents, findings
from wfctl.cli import Verb, with_settings
from wfctl.errors import InvalidWorkflow
from wfctl.output import hint
from wfctl.settings import Settings


@click.command(cls=Verb)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--nodes", multiple=True, metavar="PATH", help="More node modules: a name, a .py file or a folder.")
@click.option("--name", default=None, help="The workflow's name when the document has none.")
@with_settings
def validate(settings: Settings, files: tuple[str, ...], *, nodes: tuple[str, ...], name: str | None) -> int:
    """Check documents offline, by the code that the controller uses, and print all findings."""
    from wfctl.checking import Checker

    given = documents.read(files, stem=name)
    checker = Checker(documents.nodes_arguments(nodes))
    for problem in checker.problems:
        hint(f"wfctl: {problem}")
    found = [finding for document in given for finding in checker.check(document).findings]
    findings.show(found, settings)
    if findings.has_errors(found):
        return InvalidWorkflow.exit_code
    if settings.output in {"table", "wide"}:
        warnings = sum(finding.severity == "warning" for finding in found)
        hint(f"{len(given)} valid, {warnings} warnings")
    return 1 if checker.problems else 0
