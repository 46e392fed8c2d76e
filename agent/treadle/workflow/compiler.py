"""The compiler: from a draft without errors to execution plans, defaults filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.workflow.digests import loop_digest, workflow_digest
from treadle.workflow.loops import retry_of
from treadle.workflow.plan import Compiled, Input, Placement, Plan, Queue, Resources, RestartPolicy, RetryPolicy, Step
from treadle.workflow.rules import input_key
from treadle.workflow.settings import KEEP

if TYPE_CHECKING:
    from treadle.workflow.draft import Draft
    from treadle.workflow.flow import Stream
    from treadle.workflow.graph import Edge

_ERROR_HANDLE = "error"  # as in treadle.data, which is not imported here: it brings the codec along
_SECONDS = {  # written name -> field
    "initial_backoff": "initial_backoff_s",
    "max_backoff": "max_backoff_s",
    "max_elapsed": "max_elapsed_s",
    "window": "window_s",
}


def compile_draft(draft: Draft, queues: tuple[Queue, ...]) -> Compiled:
    """Make the plan of every loop. The draft must have no errors."""
    tails: dict[str, list[str]] = {}
    for stream in draft.flow.streams.values():
        if stream.parent is not None:
            tails.setdefault(stream.parent, []).append(draft.loop_names[stream.head])
    policies = _Policies(draft)
    plans = [
        _plan(draft, stream, tuple(sorted(tails.get(stream.head, ()))), policies)
        for stream in draft.flow.streams.values()
    ]
    # Names are compared part by part, so that a tail comes right after its loop.
    plans.sort(key=lambda plan: plan.loop.split("~"))
    rollout: dict[str, Any] = dict(draft.top["rollout"])
    if "progress_deadline" in rollout:
        rollout["progress_deadline_s"] = rollout.pop("progress_deadline")
    return Compiled(
        workflow=draft.workflow,
        digest=workflow_digest(draft, {plan.loop: plan.digest for plan in plans}),
        plans=tuple(plans),
        queues=queues,
        **rollout,
    )


def _plan(draft: Draft, stream: Stream, tails: tuple[str, ...], policies: _Policies) -> Plan:
    settings = draft.loop_settings[stream.root]
    members = ordered(draft, stream)
    index = {stream.head: 0, **{node: at for at, node in enumerate(members, start=1)}}
    steps = [_head_step(draft, stream, policies)]
    steps += [_step(draft, node, index, policies) for node in members]
    return Plan(
        workflow=draft.workflow,
        loop=draft.loop_names[stream.head],
        steps=tuple(steps),
        digest=loop_digest(draft, stream, members),
        tail_of=None if stream.parent is None else draft.loop_names[stream.parent],
        tails=tails,
        **_loop_fields(settings, is_tail=stream.parent is not None),
    )


def ordered(draft: Draft, stream: Stream) -> list[str]:
    """The nodes below the head in the order of execution.

    Depth first by sibling order: a node runs as soon as the last of its predecessors has, before what is left of that
    one's siblings.
    """
    inside = set(stream.members) - {stream.head}
    waiting = {node: len(draft.flow.ins[node]) for node in inside}
    order: list[str] = []
    pending = [stream.head]
    while pending:
        node = pending.pop()
        if node != stream.head:
            order.append(node)
        ready: list[str] = []
        for edge in draft.flow.outs[node]:
            if edge.target in inside:
                waiting[edge.target] -= 1
                if not waiting[edge.target]:
                    ready.append(edge.target)
        pending += reversed(ready)
    return order


def _head_step(draft: Draft, stream: Stream, policies: _Policies) -> Step:
    """The producer, or for a tail the reader of its hidden queue, which goes by the non-blocking node's id."""
    if stream.parent is None:
        return _step(draft, stream.head, {}, policies)
    root = draft.written[stream.root]
    inherited = {"max_deliveries": root["max_deliveries"]} if "max_deliveries" in root else {}
    return Step(
        node=stream.head,
        kind="queue-reader",
        label=_label(draft, stream.head),
        queues=(draft.tail_queue(stream),),
        retry=policies.of({}),
        **inherited,
    )


def _step(draft: Draft, node_id: str, index: dict[str, int], policies: _Policies) -> Step:
    node, written = draft.node(node_id), draft.written[node_id]
    fields: dict[str, Any] = {key: written[key] for key in ("join", "on_empty", "max_deliveries") if key in written}
    if "attempt_timeout" in written:
        fields["attempt_timeout_s"] = written["attempt_timeout"]
    if node.type in ("producer", "blocking", "non-blocking"):
        fields.update(_using(draft, node_id, written))
    elif node.type == "queue":
        fields["queue"] = draft.pushes[node_id]
    elif node_id in draft.flow.streams:
        fields["queues"] = draft.reads[node_id]
    else:
        fields.update(queue=draft.reads[node_id][0], timeout_s=written["timeout"])
    return Step(
        node=node_id,
        kind=node.type,  # type: ignore[arg-type] # a checked node's type is a kind
        label=_label(draft, node_id),
        inputs=_inputs(draft.flow.ins[node_id], index),
        catches=any(edge.source_handle == _ERROR_HANDLE for edge in draft.flow.outs[node_id]),
        retry=policies.of(retry_of(draft, node_id)),
        **fields,
    )


def _using(draft: Draft, node_id: str, written: dict[str, Any]) -> dict[str, Any]:
    queues = written.get("queues", {})
    tail = draft.flow.streams.get(node_id)
    return {
        "uses": written["uses"],
        "params": written.get("with", {}),
        "push_queues": tuple(sorted(queues.get("push", ()))),
        "pop_queues": tuple(sorted(queues.get("pop", ()))),
        "tail_queue": draft.tail_queue(tail) if tail is not None and tail.parent is not None else None,
    }


def _label(draft: Draft, node_id: str) -> str:
    label = draft.node(node_id).data.get("label")
    return label if isinstance(label, str) and label else node_id


def _inputs(edges: list[Edge], index: dict[str, int]) -> tuple[Input, ...]:
    if len(edges) > 1:
        edges = sorted(edges, key=lambda edge: (index[edge.source], edge.rank))
    return tuple(Input(index[edge.source], edge.source_handle, input_key(edge)) for edge in edges)


class _Policies:
    """Retry policies, one object for all nodes that wrote the same."""

    def __init__(self, draft: Draft) -> None:
        self._plain = RetryPolicy()
        self._defaults = draft.top["defaults"].get("retry")
        self._made: dict[str, RetryPolicy] = {}

    def of(self, written: dict[str, Any]) -> RetryPolicy:
        if not written:
            return self._plain
        key = repr(sorted(written.items()))
        if key not in self._made:
            self._made[key] = RetryPolicy(**_renamed(written))
        return self._made[key]


def _renamed(written: dict[str, Any]) -> dict[str, Any]:
    return {
        _SECONDS.get(key, key): tuple(value) if isinstance(value, list) else value for key, value in written.items()
    }


def _loop_fields(settings: dict[str, Any], *, is_tail: bool) -> dict[str, Any]:
    """A loop's settings as fields of its plan; a tail inherits all but the interval."""
    fields: dict[str, Any] = {
        key: settings[key] for key in ("pool", "replicas", "max_in_flight", "tracing") if key in settings
    }
    if "interval" in settings and not is_tail:
        fields["interval_s"] = settings["interval"]
    if "iteration_timeout" in settings:
        fields["iteration_timeout_s"] = settings["iteration_timeout"]
    if settings.get("on_lost_contact", KEEP) != KEEP:
        fields["on_lost_contact_s"] = settings["on_lost_contact"]
    if "placement" in settings:
        fields["placement"] = Placement(**settings["placement"])
    if "restart" in settings:
        fields["restart"] = RestartPolicy(**_renamed(settings["restart"]))
    if "resources" in settings:
        fields["resources"] = Resources(**settings["resources"])
    return fields
