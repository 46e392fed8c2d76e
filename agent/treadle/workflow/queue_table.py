"""The queue table: every queue of a workflow, its limits, writers and readers, and what is wrong between them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from treadle.workflow.cycles import components, path_through, printed
from treadle.workflow.names import shown
from treadle.workflow.plan import Queue, QueueLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.workflow.draft import Draft
    from treadle.workflow.findings import Findings


@dataclass(slots=True)
class _Row:
    """One queue: which nodes are at its ends, by loop."""

    writers: dict[str, str] = field(default_factory=dict)  # loop -> one of its nodes that pushes
    readers: dict[str, str] = field(default_factory=dict)  # loop -> its node that pops
    limits: QueueLimits = field(default_factory=QueueLimits)
    limited_by: str | None = None  # the node whose `limits` hold
    external: bool = False
    hidden: bool = False
    on_cycle: bool = False

    @property
    def can_block(self) -> bool:
        limits = self.limits
        return limits.when_full == "block" and not (limits.messages is None and limits.bytes is None)


def build_queues(draft: Draft, findings: Findings) -> tuple[Queue, ...]:
    """All queues of the workflow by name, hidden ones included."""
    rows: defaultdict[str, _Row] = defaultdict(_Row)
    _enter_nodes(draft, rows, findings)
    _enter_tails(draft, rows)
    _judge_ends(draft, rows, findings)
    _judge_cycles(draft, rows, findings)
    return tuple(
        Queue(
            name=name,
            limits=row.limits,
            writers=tuple(sorted(row.writers)),
            readers=tuple(sorted(row.readers)),
            external=row.external,
            on_cycle=row.on_cycle,
            hidden=row.hidden,
        )
        for name, row in sorted(rows.items())
    )


def _enter_nodes(draft: Draft, rows: defaultdict[str, _Row], findings: Findings) -> None:
    for node in draft.graph.nodes.values():
        loop, written = draft.loop_of(node.id), draft.written[node.id]
        pushed, popped = _ends(draft, node.id, written)
        for queue in pushed:
            if loop is not None:
                rows[queue].writers.setdefault(loop, node.id)
        for queue in popped:
            row = rows[queue]
            if loop is not None and row.readers.setdefault(loop, node.id) != node.id:
                message = f"{shown(row.readers[loop])} and {shown(node.id)} pop {shown(queue)} in one loop"
                findings.add("popped-twice", node.pointer, message, element=node.id)
        if written.get("external"):
            for queue in (*pushed, *popped) if node.type in ("queue", "queue-reader") else ():
                rows[queue].external = True
        if "limits" in written and pushed:
            _limit(draft, rows[pushed[0]], node.id, pushed[0], findings)


def _ends(draft: Draft, node_id: str, written: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The queues that a node pushes to and those that it pops from."""
    if node_id in draft.pushes:
        return (draft.pushes[node_id],), ()
    if node_id in draft.reads:
        return (), draft.reads[node_id]
    used = written.get("queues")
    if not used:
        return (), ()
    return tuple(used.get("push", ())), tuple(used.get("pop", ()))


def limits_of(written: dict[str, Any] | None) -> QueueLimits:
    """The limits that an author wrote, defaults filled in; None is unbounded."""
    if written is None:
        return QueueLimits(messages=None, bytes=None)
    return QueueLimits(**written)


def _limit(draft: Draft, row: _Row, node_id: str, queue: str, findings: Findings) -> None:
    limits = limits_of(draft.written[node_id]["limits"])
    if row.limited_by is not None and row.limits != limits:
        message = f"{shown(row.limited_by)} and {shown(node_id)} give {shown(queue)} different limits"
        findings.add("differing-limits", f"{draft.node(node_id).data_pointer}/limits", message, element=node_id)
        return
    row.limits, row.limited_by = limits, node_id


def _enter_tails(draft: Draft, rows: defaultdict[str, _Row]) -> None:
    for stream in draft.flow.streams.values():
        if stream.parent is not None:
            row = rows[draft.tail_queue(stream)]
            row.hidden = True
            row.writers[draft.loop_names[stream.parent]] = stream.head
            row.readers[draft.loop_names[stream.head]] = stream.head


def _judge_ends(draft: Draft, rows: Mapping[str, _Row], findings: Findings) -> None:
    others = {name: row for name, row in rows.items() if not row.hidden}
    for name, row in rows.items():
        if len(row.readers) > 1:
            loops = ", ".join(shown(loop) for loop in sorted(row.readers)[:8])
            node = draft.node(row.readers[max(row.readers)])
            message = f"the loops {loops} compete for the messages of {shown(name)}"
            findings.add("competing-readers", node.pointer, message, element=node.id)
        if row.external or bool(row.readers) == bool(row.writers):
            continue
        present = row.readers or row.writers
        node = draft.node(present[min(present)])
        near = findings.hints.nearest(name, others, among="queues")
        hint = f"; did you mean '{near}'?" if near else ""
        code, verb = ("unwritten-queue", "writes to") if row.readers else ("unread-queue", "reads")
        message = f"nothing in this workflow {verb} {shown(name)}{hint}"
        findings.add(code, node.pointer, message, element=node.id)


def _judge_cycles(draft: Draft, rows: Mapping[str, _Row], findings: Findings) -> None:
    """Mark the queues on cycles of loops, and report the cycles on which every queue can block."""
    for members in components(_lattice(rows, blocking_only=False)):
        for member in members:
            if member.startswith("["):
                rows[member[1:-1]].on_cycle = True
    blocking = _lattice(rows, blocking_only=True)
    for members in components(blocking):
        path = path_through(members, blocking)
        queue = next(member[1:-1] for member in path if member.startswith("["))
        node = draft.node(next(iter(rows[queue].writers.values())))
        message = f"loops feed each other through bounded queues: {printed(path)}"
        findings.add("bounded-cycle", node.pointer, message, element=node.id)


def _lattice(rows: Mapping[str, _Row], *, blocking_only: bool) -> dict[str, list[str]]:
    """Loops and queues as one graph: a loop leads to the queues it writes, a queue, in brackets, to its readers."""
    outs: dict[str, list[str]] = {}
    for name, row in sorted(rows.items()):
        if blocking_only and not row.can_block:
            continue
        outs[f"[{name}]"] = sorted(row.readers)
        for loop in row.readers:
            outs.setdefault(loop, [])
        for loop in row.writers:
            outs.setdefault(loop, []).append(f"[{name}]")
    return outs
