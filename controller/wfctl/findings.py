"""Findings about documents, in the form in which people and programs read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import click

from wfctl.settings import Settings
from wfctl.text import clean


class Described(Protocol):
    """What treadle.workflow says about a document."""

    @property
    def code(self) -> str: ...
    @property
    def pointer(self) -> str: ...
    @property
    def message(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding and the file that it is about; the names are those of the JSON form."""

    file: str
    code: str
    severity: str  # error, warning, info
    pointer: str
    element: str
    message: str
    fix: str

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return clean(f"{self.file}: {self.pointer or '/'}: {self.code}: {self.message}{fix}")


def of(file: str, found: Iterable[Any]) -> list[Finding]:
    """Return what treadle.workflow, or the API, found in a file."""
    return [
        Finding(file, f.code, _severity(f.severity), f.pointer or "", f.element or "", f.message, f.fix or "")
        for f in found
    ]


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether a document with these findings can't run."""
    return any(finding.severity == "error" for finding in findings)


def show(findings: Sequence[Finding], settings: Settings, *, err: bool = False) -> None:
    """Print findings: a line each, errors first in colour, or the bare list as JSON or YAML."""
    if settings.output == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2), err=err)
    elif settings.output == "yaml":
        import yaml

        click.echo(yaml.safe_dump([asdict(finding) for finding in findings], sort_keys=False).rstrip(), err=err)
    else:
        for finding in findings:
            click.echo(click.style(str(finding), fg=_COLORS[finding.severity]), err=err, color=settings.color)


_COLORS = {"error": "red", "warning": "yellow", "info": "bright_black"}


def _severity(value: Any) -> str:
    """Return the word for a severity, of the API's enumeration too."""
    if isinstance(value, int):
        return {10: "info", 20: "warning"}.get(value, "error")
    return str(value)
