"""aggregate: running figures for each group."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from treadle.data import NodeData
from treadle.node import BlockingNode, Params
from treadle.nodes.groups import Groups
from treadle.nodes.measure import Measure, Measures
from treadle.nodes.seconds import Seconds


class AggregateParams(Params):
    """What is grouped, what is calculated, and when it is told."""

    by: dict[str, str] = Field(
        default_factory=dict, description="Output field -> CEL expression: a row for each combination of values."
    )
    measures: dict[str, Measure] = Field(min_length=1, description="Output field -> what to calculate.")
    every: int | None = Field(None, ge=1, description="Tell a group's figures after every so many of its items.")
    interval: Seconds | None = Field(None, description="Tell the groups that changed this often, e.g. `10s`.")
    at_end: bool = Field(default=True, description="Tell all groups when the loop completes.")

    @model_validator(mode="after")
    def _has_no_clash(self) -> Self:
        clash = set(self.by) & set(self.measures)
        if clash:
            raise ValueError(f"by and measures have the same name: {', '.join(sorted(clash))}")
        return self


class Aggregate(BlockingNode[AggregateParams]):
    """Keeps figures (count, sum, min, max, mean, first, last) over all items so far, for each group.

    Emits a row for each group, the fields of `by` and the measures: when the loop completes, after every so many
    items, or at an interval. All rows of one moment make one iteration: at most 10,000 groups.
    """

    uses = "aggregate"
    stateful = True
    inline = True
    tick: ClassVar[float | None] = 0.25

    def open(self) -> None:
        self._groups = Groups(self.params.by)
        self._measures = Measures(self.params.measures)
        self._told = self.context.now()

    def execute(self, data: NodeData) -> dict[str, Any] | None:
        group = self._groups.of(data)
        record = self.state.get(f"g|{group}") or self._measures.start()
        self._measures.add(record, data)
        self.state[f"g|{group}"] = record
        if self.params.interval is not None and f"c|{group}" not in self.state:
            self.state[f"c|{group}"] = True
        every = self.params.every
        return self._row(group, record) if every is not None and record["n"] % every == 0 else None

    def on_tick(self, now: float) -> list[dict[str, Any]] | None:
        interval = self.params.interval
        if interval is None or now - self._told < interval:
            return None
        self._told = now
        changed = self._names("c|")
        for group in changed:
            del self.state[f"c|{group}"]
        return self._rows(changed)

    def finish(self) -> list[dict[str, Any]] | None:
        return self._rows(self._names("g|")) if self.params.at_end else None

    def _names(self, prefix: str) -> list[str]:
        return sorted(name.removeprefix(prefix) for name in self.state if name.startswith(prefix))

    def _rows(self, groups: list[str]) -> list[dict[str, Any]] | None:
        return [self._row(group, self.state[f"g|{group}"]) for group in groups] or None

    def _row(self, group: str, record: dict[str, Any]) -> dict[str, Any]:
        return {**self._groups.fields(group), **self._measures.result(record)}
