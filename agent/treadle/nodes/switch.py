"""switch: sends items along one of several edges."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from treadle.data import NodeData, Route
from treadle.node import BlockingNode, Params
from treadle.nodes.expression import Expression, ExpressionError


class Rule(BaseModel):
    """Where items go that fulfil a condition."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: str = Field(description="CEL expression over `data` that gives true or false.")
    handle: str = Field(min_length=1, description="The sourceHandle of the edges that take these items.")


class SwitchParams(Params):
    """The rules, tried in order."""

    rules: list[Rule] = Field(min_length=1, description="Tried in order.")
    otherwise: str | None = Field(None, description="The sourceHandle for the rest; without it, they end here.")
    matches: Literal["first", "all"] = Field("first", description="Follow the first rule that holds, or all of them.")


class Switch(BlockingNode[SwitchParams]):
    """Routes items by CEL conditions: each rule names the sourceHandle of the edges to take."""

    uses = "switch"
    inline = True

    def open(self) -> None:
        rules = enumerate(self.params.rules)
        self._rules = [(Expression(rule.when, where=f"rules.{i}.when"), rule.handle) for i, rule in rules]

    def execute(self, data: NodeData) -> Route | list[Route] | None:
        taken: list[Route] = []
        for condition, handle in self._rules:
            if _holds(condition, data):
                taken.append(Route(handle, data))
                if self.params.matches == "first":
                    return taken[0]
        if not taken and self.params.otherwise is not None:
            return Route(self.params.otherwise, data)
        return taken or None


def _holds(condition: Expression, data: NodeData) -> bool:
    verdict = condition(data)
    if not isinstance(verdict, bool):
        message = f"{condition.where}: {condition.source!r} gave {verdict!r}, not true or false"
        raise ExpressionError(message, field=condition.where, expression=condition.source)
    return verdict
