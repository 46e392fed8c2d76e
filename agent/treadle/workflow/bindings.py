"""Bindings: which queue each queue node pushes to and each queue-reader pops from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.workflow.names import shown

if TYPE_CHECKING:
    from treadle.workflow.draft import Draft
    from treadle.workflow.findings import Findings
    from treadle.workflow.graph import Edge


def settle_queue_names(draft: Draft, findings: Findings) -> None:
    """Name the queue of every queue node and reader: as written, else by the binding, else derived."""
    from_queue: dict[str, list[Edge]] = {}
    to_reader: dict[str, list[Edge]] = {}
    for edge in draft.flow.bindings:
        from_queue.setdefault(edge.source, []).append(edge)
        to_reader.setdefault(edge.target, []).append(edge)
    said = {reader: _written_names(draft, reader) for reader in to_reader}
    for node in draft.graph.nodes.values():
        if node.type == "queue":
            name = _pushed(draft, node.id, [said[edge.target] for edge in from_queue.get(node.id, [])], findings)
            if name is not None:
                draft.pushes[node.id] = name
    for node in draft.graph.nodes.values():
        if node.type == "queue-reader":
            draft.reads[node.id] = _popped(draft, node.id, to_reader.get(node.id, []), findings)


def _written_names(draft: Draft, node_id: str) -> list[str]:
    """The queues that the node names itself."""
    written = draft.written[node_id]
    queues = written.get("queues", [])
    return [*([written["queue"]] if "queue" in written else []), *(queues if isinstance(queues, list) else [])]


def _pushed(draft: Draft, node_id: str, bound: list[list[str]], findings: Findings) -> str | None:
    """The queue of a queue node; `bound` is what each reader that is bound to it names itself."""
    own = draft.written[node_id].get("queue")
    if own is not None:
        return str(own)
    named = {names[0] for names in bound if len(names) == 1}
    if len(named) > 1:
        listed = ", ".join(shown(name) for name in sorted(named)[:8])
        message = f"{shown(node_id)} is bound to readers of different queues: {listed}"
        findings.add("binding-conflict", draft.node(node_id).pointer, message, element=node_id)
    if named:
        return min(named)
    if bound:
        return f"{draft.workflow}~{node_id}"
    _report_missing(draft, node_id, findings)
    return None


def _popped(draft: Draft, node_id: str, bindings: list[Edge], findings: Findings) -> tuple[str, ...]:
    own = _written_names(draft, node_id)
    if "queue" in draft.written[node_id] and "queues" in draft.written[node_id]:
        message = f"{shown(node_id)} sets both 'queue' and 'queues'"
        findings.add("conflicting-setting", f"{draft.node(node_id).data_pointer}/queues", message, element=node_id)
    names = dict.fromkeys(own)
    for edge in bindings:
        bound = draft.pushes[edge.source]
        derived = "queue" not in draft.written[edge.source] and len(own) > 1
        if own and bound not in names and not derived:
            message = f"{shown(edge.source)} pushes to {shown(bound)}, and {shown(node_id)} reads {shown(own[0])}"
            findings.add("binding-conflict", edge.pointer, message, element=edge.id)
        else:
            names[bound] = None
    if not names:
        _report_missing(draft, node_id, findings)
    elif len(names) > 1 and node_id not in draft.flow.streams:
        listed = ", ".join(shown(name) for name in sorted(names)[:8])
        message = f"{shown(node_id)} is in mid-chain and pops one queue, not {listed}"
        findings.add("binding-conflict", draft.node(node_id).pointer, message, element=node_id)
    return tuple(sorted(names))


def _report_missing(draft: Draft, node_id: str, findings: Findings) -> None:
    node = draft.node(node_id)
    if any(node.data.get(key) is not None for key in ("queue", "queues")):
        return  # it was written, and what is wrong with it has been said
    verb = "pushes to" if node.type == "queue" else "reads"
    findings.add("missing-queue", node.pointer, f"nothing says which queue {shown(node_id)} {verb}", element=node_id)
