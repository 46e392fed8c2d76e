"""Findings: what is wrong or worth knowing about a document, and the table of all their codes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from treadle.workflow.hints import Hints
from treadle.workflow.names import escaped

Severity = Literal["error", "warning", "info"]

MAX_PER_SEVERITY: Final = 1_000  # a hostile document must not make megabytes of findings
_MAX_POINTER: Final = 512
_DIGITS: Final = re.compile(r"\d{1,9}")
_RANK: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: how bad it is, what it means, and how it is usually fixed."""

    severity: Severity
    meaning: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a document: `pointer` says where (RFC 6901), `element` is the node's or edge's id."""

    code: str
    severity: Severity
    pointer: str
    element: str
    message: str
    fix: str


_E: Final[Severity] = "error"
_W: Final[Severity] = "warning"
_I: Final[Severity] = "info"

CODES: Final[dict[str, Code]] = {
    # reading
    "document-too-large": Code(_E, "The document is larger than 4 MiB.", "split the workflow"),
    "too-many-values": Code(_E, "The document holds more objects and arrays than may be read.", "split the workflow"),
    "bad-encoding": Code(_E, "The document is not plain UTF-8 text.", "save it as UTF-8 without a byte order mark"),
    "empty-document": Code(_E, "There is no document.", "export the workflow again"),
    "bad-json": Code(_E, "The document is not JSON.", "export the workflow again, or mend the text at this place"),
    "too-deep": Code(_E, "Values are nested deeper than 64 levels.", "flatten the value"),
    "bad-number": Code(_E, "NaN and Infinity are not JSON.", "write a finite number, or null"),
    "number-out-of-range": Code(_E, "A number does not fit into 64 bits.", "write a smaller number, or a string"),
    "duplicate-key": Code(_E, "An object holds one key twice.", "remove one of the two"),
    "lone-surrogate": Code(_E, "A text holds half of a UTF-16 pair.", "write the whole character"),
    "not-a-workflow": Code(
        _E,
        "The JSON is no React Flow document.",
        'give what toObject() returns: {"nodes": [...], "edges": [...]}, bare or under the key "flow" or "workflow"',
    ),
    "too-many-nodes": Code(_E, "There are more than 10,000 nodes.", "split the workflow"),
    "too-many-edges": Code(_E, "There are more than 50,000 edges.", "split the workflow"),
    # elements
    "bad-node": Code(_E, "A node is not an object with a text `id`, or its `data` is no object.", "export it again"),
    "bad-edge": Code(_E, "An edge lacks a text `source` or `target`, or its id is too long.", "draw the edge again"),
    "bad-name": Code(
        _E,
        "A name is not of the allowed form.",
        "use 1 to 128 letters, digits, '.', '_', '-', beginning with a letter or digit",
    ),
    "duplicate-id": Code(_E, "Two nodes, or two edges, have one id.", "give one of them another id"),
    "unknown-type": Code(_E, "The node's React Flow `type` is not one that runs.", "use one of the known types"),
    "dangling-edge": Code(_E, "An edge leads from or to a node that is not there.", "remove the edge"),
    "decoration": Code(_I, "A group or note: kept with the document, and never run.", "nothing to do"),
    "decoration-edge": Code(_I, "An edge at a group or note: kept, and never run.", "nothing to do"),
    # settings
    "bad-setting": Code(_E, "A setting's value is not of the expected form.", "write a value of that form"),
    "missing-setting": Code(_E, "A setting that is needed here is missing.", "add it under the node's `data`"),
    "unknown-setting": Code(_E, "A group of settings holds a key that it does not have.", "remove or rename the key"),
    "near-miss": Code(_W, "An unknown key looks like a misspelt setting.", "rename the key if it was meant"),
    "misplaced-setting": Code(_W, "A setting has no effect on this kind of node.", "move or remove it"),
    "conflicting-setting": Code(_E, "One thing is set twice, differently.", "set it in one place only"),
    "bad-retry": Code(_E, "`on_exhausted` is dead-letter, but no message feeds the loop.", "use fail-loop or skip"),
    "resources-need-process": Code(
        _E, "`resources` are limits of a process of its own.", 'set "pool": "process", or remove `resources`'
    ),
    "bad-replicas": Code(
        _E,
        "Several replicas need a queue-reader as producer and no stateful node.",
        'feed the loop from a queue and keep state elsewhere, or set "replicas": 1',
    ),
    # implementations
    "bad-node-type": Code(
        _E,
        "`uses` is not of the form of a node type's name.",
        "use lower-case words joined by dots, such as 'http.request'",
    ),
    "unknown-node-type": Code(_E, "No agent ever offered this node type.", "install it on an agent, or mend the name"),
    "absent-node-type": Code(
        _W, "Only agents that are away offer this node type.", "start an agent that offers it; the loop waits for it"
    ),
    "wrong-role": Code(_E, "A producer is used as a node, or the reverse.", "change the node's React Flow type"),
    "bad-params": Code(_E, "`with` does not fit what the node type accepts.", "mend the field"),
    "bad-schema": Code(_E, "The node type's own schema can't be used.", "mend the node type's Params"),
    "bad-secret": Code(_E, "A secret reference is malformed.", 'write {"$secret": "name"} and nothing beside it'),
    "foreign-secret": Code(_E, "A secret of another namespace is referred to.", "use a secret of this namespace"),
    # graph
    "empty-workflow": Code(_E, "Nothing in the document starts a loop.", "add a producer or a queue-reader"),
    "self-edge": Code(_E, "A node is connected to itself.", "remove the edge, or go through a queue"),
    "cycle": Code(_E, "Nodes of a loop form a cycle.", "put a queue and a queue-reader into the cycle"),
    "producer-input": Code(_E, "An edge leads into a producer.", "use a queue-reader there, or remove the edge"),
    "unreachable-node": Code(_E, "No producer reaches the node.", "connect it below a producer, or remove it"),
    "shared-node": Code(
        _E,
        "Two loops meet in a node.",
        "put a queue and a queue-reader between them, or give each loop a copy of the node",
    ),
    "mixed-join": Code(
        _E,
        "A node waits for an awaited predecessor and one below a non-blocking node, or for two tails.",
        "make the non-blocking node blocking, or put a queue and a queue-reader between",
    ),
    "deep-tail": Code(_E, "Tails lie in tails too deeply.", "make some of the nodes blocking, or go through a queue"),
    "join-key-clash": Code(
        _W, "Two inputs of a join have one name.", "give the edges different target handles, or join `any` or `each`"
    ),
    # containers
    "dangling-parent": Code(_E, "A node's parent is not there.", "remove `parentId`, or add the parent"),
    "parent-cycle": Code(_E, "Nodes are each other's parents.", "remove one `parentId`"),
    "nested-loop": Code(_E, "A loop container lies in another.", "take one out of the other"),
    "container-edge": Code(_E, "An edge ends at a loop container.", "connect the nodes inside"),
    "container-producer": Code(_E, "A loop container holds not exactly one producer.", "one container for each loop"),
    "container-member": Code(_E, "A loop container holds a node of another loop.", "move the node out"),
    "outside-container": Code(_W, "A node lies outside the container of its loop.", "move it into the container"),
    "duplicate-loop": Code(_E, "Two loops have one name.", "rename a container or a producer"),
    # queues
    "missing-queue": Code(_E, "Nothing names the node's queue.", "set `queue`, or draw an edge from queue to reader"),
    "binding-conflict": Code(_E, "The ends of a binding name different queues.", "name it at one end only"),
    "differing-limits": Code(_E, "One queue is given different limits.", "write `limits` at one node only"),
    "popped-twice": Code(_E, "Two nodes of a loop pop one queue.", "pop it in one place, or split the loop"),
    "competing-readers": Code(
        _W, "Two loops read one queue: each message goes to one of them.", "draw two queue nodes to reach both"
    ),
    "bounded-cycle": Code(
        _E,
        "Loops feed each other through queues that all are bounded: they can wait for each other for ever.",
        'give one of the queues "limits": null, or "when_full": "drop-oldest"',
    ),
    "unwritten-queue": Code(
        _I, "Nothing in this workflow writes to the queue.", 'set "external": true if another program does'
    ),
    "unread-queue": Code(
        _I, "Nothing in this workflow reads the queue.", 'set "external": true if another program does'
    ),
    "more-findings": Code(_I, "There are more findings than are listed.", "mend these first"),
}


class Findings:
    """Collects findings; each severity is kept up to a limit, and `failed` is right in any case."""

    def __init__(self) -> None:
        self.failed = False
        self.hints = Hints()
        self._kept: list[Finding] = []
        self._counts: dict[Severity, int] = {"error": 0, "warning": 0, "info": 0}

    def add(
        self,
        code: str,
        pointer: str,
        message: str,
        *,
        element: str = "",
        fix: str | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Add one finding; `fix` and `severity` are those of the table unless given."""
        kind = CODES[code]
        severity = severity or kind.severity
        self.failed = self.failed or severity == "error"
        self._counts[severity] += 1
        if self._counts[severity] <= MAX_PER_SEVERITY:
            where = escaped(pointer, _MAX_POINTER)
            self._kept.append(Finding(code, severity, where, escaped(element), message, fix or kind.fix))

    @property
    def full(self) -> bool:
        """Whether further errors would not be listed."""
        return self._counts["error"] >= MAX_PER_SEVERITY

    def listed(self) -> tuple[Finding, ...]:
        """All that was kept, in the order of the document."""
        found = sorted(self._kept, key=_place)
        left = sum(max(0, count - MAX_PER_SEVERITY) for count in self._counts.values())
        if left:
            kind = CODES["more-findings"]
            found.append(Finding("more-findings", kind.severity, "", "", f"{left:,} more are not listed", kind.fix))
        return tuple(found)


def _place(finding: Finding) -> tuple[list[tuple[int, int, str]], int]:
    parts = [(0, int(part), "") if _DIGITS.fullmatch(part) else (1, 0, part) for part in finding.pointer.split("/")[1:]]
    return parts, _RANK[finding.severity]
