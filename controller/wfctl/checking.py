"""Checking documents offline, by the code that the controller uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wfctl import findings
from wfctl.documents import Document
from wfctl.findings import Finding

if TYPE_CHECKING:
    from treadle.workflow import Compiled


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one document: its plans, None when a finding is an error, and all findings."""

    compiled: Compiled | None
    findings: tuple[Finding, ...]


class Checker:
    """Checks documents against the node types of this installation and of further modules.

    Making one imports those modules. `problems` are sentences about modules that can't be offered.
    """

    def __init__(self, nodes: Sequence[str] = ()) -> None:
        from wfctl import known_types

        self.node_types, self.problems = known_types.load(nodes)

    def check(self, document: Document) -> Judged:
        """Return all findings about one document."""
        from treadle import workflow

        value, found = read_document(document)
        if value is None:
            return Judged(None, tuple(found))
        name = workflow.workflow_name(value, document.stem)
        checked = workflow.check(value, name=name, node_types=self.node_types, offline=True)
        judged = findings.of(document.source, checked.findings)
        return Judged(checked.compiled, (*found, *judged))


def read_document(document: Document) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the JSON of a document, None when it can't be used, and the findings that say why."""
    from treadle import workflow

    result = workflow.read_document(document.data)
    return result.document, findings.of(document.source, result.findings)


def name_of(document: Document) -> str | None:
    """Return the name that a document gives its workflow, None when there is none or the document can't be read."""
    from treadle import workflow

    value = workflow.read_document(document.data).document
    return None if value is None else workflow.workflow_name(value, document.stem) or None
