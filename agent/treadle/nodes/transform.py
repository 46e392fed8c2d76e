"""transform: calculates fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from treadle.data import NodeData
from treadle.node import BlockingNode, Params
from treadle.nodes.expression import Expression, ExpressionError, compile_all


class TransformParams(Params):
    """Which fields to calculate, keep and drop."""

    set: dict[str, str] = Field(
        default_factory=dict,
        description="Field name -> CEL expression over `data`, the fields of the input. All see the input only.",
    )
    drop: list[str] = Field(default_factory=list, description="Input fields to leave out.")
    keep: bool = Field(default=True, description="Keep the input's other fields; false gives those of `set` alone.")
    each: str | None = Field(
        None,
        description="CEL expression that gives a list: one output per element, which `set` sees as `item`.",
    )


class Transform(BlockingNode[TransformParams]):
    """Calculates fields with CEL expressions: `{"set": {"celsius": "(data.f - 32.0) / 1.8"}}`.

    With `each`, one input becomes as many outputs as the list has elements.
    """

    uses = "transform"
    inline = True

    def open(self) -> None:
        self._set = compile_all(self.params.set, where="set")
        self._each = None if self.params.each is None else Expression(self.params.each, where="each")

    def execute(self, data: NodeData) -> NodeData | list[NodeData]:
        if self._each is None:
            return self._one(data, {})
        items = self._each(data)
        if not isinstance(items, list):
            message = f"each: {self._each.source!r} gave {type(items).__name__}, not a list"
            raise ExpressionError(message, field="each", expression=self._each.source)
        return [self._one(data, {"item": item}) for item in items]

    def _one(self, data: NodeData, variables: Mapping[str, Any]) -> NodeData:
        payload = dict(data.payload)
        kept = {key: value for key, value in payload.items() if key not in self.params.drop}
        made = {name: expression(payload, **variables) for name, expression in self._set.items()}
        return NodeData({**kept, **made} if self.params.keep else made, data.headers)
