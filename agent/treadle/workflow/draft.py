"""The draft: everything that is known about a document while it is checked, and from which plans are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.workflow.flow import Flow, Stream
    from treadle.workflow.graph import Graph, Node
    from treadle.workflow.node_type import NodeType


@dataclass(slots=True)
class Draft:
    """A document on its way to plans. Settings are as written and normalised; defaults are filled in last."""

    workflow: str
    graph: Graph
    flow: Flow
    top: dict[str, dict[str, Any]]  # `defaults`, `rollout`
    written: dict[str, dict[str, Any]] = field(default_factory=dict)  # by node or container
    node_types: dict[str, NodeType] = field(default_factory=dict)  # by node
    loop_names: dict[str, str] = field(default_factory=dict)  # by head of the stream
    loop_settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # by producer
    pushes: dict[str, str] = field(default_factory=dict)  # queue node -> queue
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)  # queue-reader -> queues

    def node(self, node_id: str) -> Node:
        """The node of that id."""
        return self.graph.nodes[node_id]

    def loop_of(self, node_id: str) -> str | None:
        """The name of the loop that runs the node, None when none does."""
        head = self.flow.stream_of.get(node_id)
        return None if head is None else self.loop_names[head]

    def fed_by_queue(self, stream: Stream) -> bool:
        """Whether the stream's iterations begin with a message: a reader's loop, or a tail."""
        return stream.parent is not None or self.node(stream.root).type == "queue-reader"

    def tail_queue(self, stream: Stream) -> str:
        """The hidden queue that feeds a tail."""
        return f"{self.workflow}~{self.loop_names[stream.head]}"
