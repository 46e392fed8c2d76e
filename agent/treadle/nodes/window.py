"""window: cuts a stream into windows, by count or by time."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from treadle.data import NodeData, Route
from treadle.node import BlockingNode, Params
from treadle.nodes.expression import Expression, ExpressionError
from treadle.nodes.groups import Groups
from treadle.nodes.measure import Measure, Measures
from treadle.nodes.seconds import Seconds

_OWN_FIELDS = frozenset({"start", "end", "count", "items"})


class WindowParams(Params):
    """How long a window is, what is grouped, and what is said about a window."""

    seconds: Seconds | None = Field(None, description="Length in time, e.g. `10s`; windows start at multiples of it.")
    count: int | None = Field(None, ge=1, description="Length in items (of each group).")
    by: dict[str, str] = Field(
        default_factory=dict, description="Output field -> CEL expression: a window for each combination of values."
    )
    time: str | None = Field(
        None,
        description="CEL expression for an item's own time (seconds since the epoch, or ISO 8601); "
        "windows close when a later item passes their end. Without it, the clock decides.",
    )
    lateness: Seconds = Field(0.0, description="How much longer a window by `time` waits for items that are late.")
    late: str | None = Field(
        None, description="The sourceHandle for items that are too late; without it, they end here."
    )
    measures: dict[str, Measure] = Field(
        default_factory=dict, description="Output field -> what to calculate; without any, the items themselves."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.seconds is None) == (self.count is None):
            raise ValueError("give either seconds or count")
        if self.seconds == 0:
            raise ValueError("seconds must be longer than 0")
        if self.count is not None and self.time is not None:
            raise ValueError("time has no meaning in windows by count")
        clash = (set(self.by) & set(self.measures)) | ((set(self.by) | set(self.measures)) & _OWN_FIELDS)
        if clash:
            raise ValueError(f"by and measures can't be called {', '.join(sorted(clash))}")
        return self


class Window(BlockingNode[WindowParams]):
    """Collects items in windows that follow each other, by count or by time, for each group of its own.

    Emits for each window that closes the fields of `by`, its `start` and `end` (seconds since the epoch; in windows
    by count the numbers of its first item and of the next window's first), `count`, and the measures or `items`.
    Open windows are part of the node's state; they are emitted when the loop completes.
    """

    uses = "window"
    stateful = True
    inline = True
    tick: ClassVar[float | None] = 0.25

    def open(self) -> None:
        self._groups = Groups(self.params.by)
        self._measures = Measures(self.params.measures)
        self._time = None if self.params.time is None else Expression(self.params.time, where="time")

    def execute(self, data: NodeData) -> list[dict[str, Any]] | Route | None:
        group = self._groups.of(data)
        if self.params.count is not None:
            return self._counted(group, self.params.count, data)
        when = self.context.now() if self._time is None else self._when(self._time, data)
        return self._timed(group, when, data)

    def on_tick(self, now: float) -> list[dict[str, Any]] | None:
        if self.params.seconds is None or self.params.time is not None:
            return None
        return self._close_until(now)

    def finish(self) -> list[dict[str, Any]] | None:
        return self._close_until(math.inf)

    def _counted(self, group: str, size: int, data: NodeData) -> list[dict[str, Any]] | None:
        number = self.state.get(f"n|{group}", 0)
        self.state[f"n|{group}"] = number + 1
        start = number - number % size
        self._add(start, group, data)
        return [self._close(start, group)] if number + 1 == start + size else None

    def _timed(self, group: str, when: float, data: NodeData) -> list[dict[str, Any]] | Route | None:
        size = self._size
        start = math.floor(when / size) * size
        if self._time is None:
            self._add(start, group, data)
            return None
        mark = self.state.get("mark", -math.inf)
        if start + size + self.params.lateness <= mark:
            return None if self.params.late is None else Route(self.params.late, data)
        self._add(start, group, data)
        if when <= mark:
            return None
        self.state["mark"] = when
        reached = math.floor((when - self.params.lateness) / size)
        if mark > -math.inf and reached == math.floor((mark - self.params.lateness) / size):
            return None  # no window's end lies between
        return self._close_until(when)

    def _when(self, time: Expression, data: NodeData) -> float:
        value = time(data)
        try:
            return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else float(value)
        except (TypeError, ValueError) as exc:
            message = f"time: {time.source!r} gave {value!r}, neither seconds nor ISO 8601"
            raise ExpressionError(message, field="time", expression=time.source) from exc

    @property
    def _size(self) -> float:
        return self.params.seconds or 1.0

    def _add(self, start: float, group: str, data: NodeData) -> None:
        name = f"w|{start!r}|{group}"
        record = self.state.get(name) or self._measures.start()
        if not self.params.measures:
            # An entry for each item: what a commit writes does not grow with the window.
            self.state[f"i|{start!r}|{group}|{record['n']}"] = dict(data.payload)
        self._measures.add(record, data)
        self.state[name] = record

    def _close_until(self, now: float) -> list[dict[str, Any]] | None:
        found = [name.split("|", 2) for name in self.state if name.startswith("w|")]
        windows = sorted((float(start) if "." in start else int(start), group) for _, start, group in found)
        due = [window for window in windows if self._end(window[0]) + self.params.lateness <= now]
        return [self._close(start, group) for start, group in due] or None

    def _end(self, start: float) -> float:
        return start + (self.params.count or self._size)

    def _close(self, start: float, group: str) -> dict[str, Any]:
        record = self.state.pop(f"w|{start!r}|{group}")
        closed = {**self._groups.fields(group), "start": start, "end": self._end(start), "count": record["n"]}
        if self.params.measures:
            return {**closed, **self._measures.result(record)}
        return {**closed, "items": [self.state.pop(f"i|{start!r}|{group}|{n}") for n in range(record["n"])]}
