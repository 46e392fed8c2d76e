"""Implementations: whether `uses` names a node type that is known, and is drawn in its role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.workflow.names import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from treadle.workflow.findings import Findings
    from treadle.workflow.graph import Node
    from treadle.workflow.node_type import NodeType


@dataclass(frozen=True, slots=True)
class Offer:
    """The node types there are: all that were ever offered, and which of them are there now.

    None as `node_types` is "nobody knows": only the form of names is checked. Offline an unknown one is a warning,
    unless it looks like a misspelt known one: the agents may have it.
    """

    node_types: Mapping[str, NodeType] | None
    present: Collection[str] | None = None
    offline: bool = False


class Implementations:
    """Looks up what nodes use, and reports what can't be found."""

    def __init__(self, offer: Offer, findings: Findings) -> None:
        self._offer = offer
        self._findings = findings

    def find(self, node: Node, uses: str) -> NodeType | None:
        """The node type of a node, None when it is unknown."""
        known = self._offer.node_types
        if known is None:
            return None
        node_type = known.get(uses)
        if node_type is None:
            self._report_unknown(node, uses, known)
            return None
        role = "producer" if node.type == "producer" else "node"
        pointer = f"{node.data_pointer}/uses"
        if node_type.role != role:
            self._findings.add("wrong-role", pointer, _misdrawn(node, node_type), element=node.id)
        if self._offer.present is not None and uses not in self._offer.present:
            message = f"{shown(uses)} is offered by no agent that is there now"
            self._findings.add("absent-node-type", pointer, message, element=node.id)
        return node_type

    def _report_unknown(self, node: Node, uses: str, known: Mapping[str, NodeType]) -> None:
        near = self._findings.hints.nearest(uses, known, among="node types")
        hint = f"; did you mean '{near}'?" if near else ""
        self._findings.add(
            "unknown-node-type",
            f"{node.data_pointer}/uses",
            f"{shown(uses)} is not known{hint}",
            element=node.id,
            severity="error" if near or not self._offer.offline else "warning",
            fix=f"write '{near}'" if near else None,
        )


def _misdrawn(node: Node, node_type: NodeType) -> str:
    if node_type.role == "producer":
        return f"{shown(node_type.uses)} is a producer, and is drawn as {node.type}"
    return f"{shown(node_type.uses)} is no producer, and is drawn as one"
