"""Implementations: whether `uses` names a node type that is known, and is drawn in its role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from treadle.workflow.names import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from treadle.workflow.findings import Findings
    from treadle.workflow.graph import Node
    from treadle.workflow.node_type import NodeType

_MAX_HINTS: Final = 200  # how many different unknown names are compared with all known ones


@dataclass(frozen=True, slots=True)
class Offer:
    """The node types there are: all that were ever offered, and which of them are there now.

    None as `node_types` is "nobody knows": only the form of names is checked. Offline an unknown one is a warning, unless
    it looks like a misspelt known one: the agents may have it.
    """

    node_types: Mapping[str, NodeType] | None
    present: Collection[str] | None = None
    offline: bool = False


class Implementations:
    """Looks up what nodes use, and reports what can't be found."""

    def __init__(self, offer: Offer, findings: Findings) -> None:
        self._offer = offer
        self._findings = findings
        self._near: dict[str, str | None] = {}

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
        if uses not in self._near:
            self._near[uses] = nearest(uses, known) if len(self._near) < _MAX_HINTS else None
        near = self._near[uses]
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
