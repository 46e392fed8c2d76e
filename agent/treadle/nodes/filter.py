"""filter: lets through what fulfils a condition."""

from __future__ import annotations

from pydantic import Field

from treadle.data import NodeData, Route
from treadle.node import BlockingNode, Params
from treadle.nodes.expression import Expression, ExpressionError


class FilterParams(Params):
    """The condition."""

    where: str = Field(description="CEL expression over `data` that gives true or false, e.g. `data.magnitude >= 2.5`.")
    rejected: str | None = Field(
        None, description="The sourceHandle along which the others leave; without it they end here."
    )


class Filter(BlockingNode[FilterParams]):
    """Lets through the items for which a CEL condition holds; the others end here or leave by a handle."""

    uses = "filter"
    inline = True

    def open(self) -> None:
        self._where = Expression(self.params.where, where="where")

    def execute(self, data: NodeData) -> NodeData | Route | None:
        verdict = self._where(data)
        if not isinstance(verdict, bool):
            message = f"where: {self.params.where!r} gave {verdict!r}, not true or false"
            raise ExpressionError(message, field="where", expression=self.params.where)
        if verdict:
            return data
        return None if self.params.rejected is None else Route(self.params.rejected, data)
