"""Loops: their names and their settings, from the producer, its container and the document's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.workflow.flow import MAX_TAILS
from treadle.workflow.names import shown
from treadle.workflow.settings import LOOP_SETTINGS

if TYPE_CHECKING:
    from treadle.workflow.draft import Draft
    from treadle.workflow.findings import Findings
    from treadle.workflow.graph import Node


def settle_loops(draft: Draft, containers: dict[str, Node], findings: Findings) -> None:
    """Name every stream and merge the settings of every loop."""
    owners: dict[str, str] = {}
    for stream in draft.flow.streams.values():
        if stream.parent is not None:
            # A parent comes before its tails, so its name is there.
            above = stream.parent if stream.depth <= MAX_TAILS else stream.root  # deeper is an error
            draft.loop_names[stream.head] = f"{draft.loop_names[above]}~{stream.head}"
            continue
        container = containers.get(stream.head)
        name = stream.head if container is None else draft.written[container.id].get("name", container.id)
        draft.loop_names[stream.head] = name
        if owners.setdefault(name, stream.head) != stream.head:
            message = f"the loops of {shown(owners[name])} and {shown(stream.head)} are both called {shown(name)}"
            findings.add("duplicate-loop", draft.node(stream.head).pointer, message, element=stream.head)
        draft.loop_settings[stream.head] = _merge(draft, stream.head, container, findings)


def _merge(draft: Draft, producer: str, container: Node | None, findings: Findings) -> dict[str, Any]:
    """The loop's settings as written: a container's and its producer's, over the document's defaults."""
    own = {key: value for key, value in draft.written[producer].items() if key in LOOP_SETTINGS}
    around = {} if container is None else {k: v for k, v in draft.written[container.id].items() if k in LOOP_SETTINGS}
    for key in own.keys() & around.keys():
        if own[key] != around[key]:
            message = f"'{key}' of {shown(producer)} differs from that of its container"
            pointer = f"{draft.node(producer).data_pointer}/{key}"
            findings.add("conflicting-setting", pointer, message, element=producer)
    merged = {**around, **own}
    defaults = draft.top["defaults"]
    for key in ("restart", "placement"):
        if key in defaults:
            merged[key] = {**defaults[key], **merged.get(key, {})}
    for key in ("pool", "tracing"):
        if key in defaults:
            merged.setdefault(key, defaults[key])
    return merged


def retry_of(draft: Draft, node_id: str) -> dict[str, Any]:
    """The node's retry settings as written, over the document's defaults.

    `dead-letter` as a default goes only where a message feeds the loop: elsewhere there is nothing to keep.
    """
    own, defaults = draft.written[node_id].get("retry"), draft.top["defaults"].get("retry")
    if not defaults:
        return own or {}
    merged = {**defaults, **(own or {})}
    head = draft.flow.stream_of.get(node_id)
    fed = head is None or draft.fed_by_queue(draft.flow.streams[head])
    if not fed and merged.get("on_exhausted") == "dead-letter" and "on_exhausted" not in (own or {}):
        del merged["on_exhausted"]
    return merged
