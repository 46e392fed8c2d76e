"""What windows and aggregates calculate: counts, sums, extremes, means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from treadle.nodes.expression import Expression, ExpressionError

Operation = Literal["count", "sum", "min", "max", "mean", "first", "last"]


class Measure(BaseModel):
    """One figure over many items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Operation = Field(description="What to calculate; null values are left out, as in SQL.")
    of: str = Field(
        "", description="CEL expression over `data`, e.g. `data.magnitude`; `count` without one counts items."
    )

    @model_validator(mode="after")
    def _needs_an_expression(self) -> Self:
        if not self.of and self.op != "count":
            raise ValueError(f"{self.op} needs `of`, the expression whose values it takes")
        return self


class Measures:
    """Compiled measures. A record is a small mapping, made for node state: `n` items, `m` by name."""

    def __init__(self, measures: Mapping[str, Measure], *, where: str = "measures") -> None:
        self._operations: dict[str, Operation] = {name: measure.op for name, measure in measures.items()}
        self._expressions = {
            name: Expression(measure.of, where=f"{where}.{name}.of") for name, measure in measures.items() if measure.of
        }

    def start(self) -> dict[str, Any]:
        """Return the record of no item."""
        return {"n": 0, "m": {name: _EMPTY.get(op) for name, op in self._operations.items()}}

    def add(self, record: dict[str, Any], data: Mapping[str, Any]) -> None:
        """Take one more item into a record. Raises ExpressionError, and leaves the record as it was then."""
        values = {name: expression(data) for name, expression in self._expressions.items()}
        taken = dict(record["m"])
        for name, operation in self._operations.items():
            value = values.get(name, True)
            if value is not None:
                taken[name] = self._next(name, operation, taken[name], value)
        record["m"] = taken
        record["n"] += 1

    def result(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the figures of a record; those without a value are null."""
        return {name: _finish(self._operations[name], value) for name, value in record["m"].items()}

    def _next(self, name: str, operation: Operation, old: Any, value: Any) -> Any:
        try:
            return _STEPS[operation](old, value)
        except TypeError as exc:
            expression = self._expressions[name]
            message = f"{expression.where}: {operation} can't take {value!r}, the value of {expression.source!r}"
            raise ExpressionError(message, field=expression.where, expression=expression.source) from exc


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


_EMPTY: dict[Operation, Any] = {"count": 0, "mean": [0, 0]}

_STEPS: dict[Operation, Any] = {
    "count": lambda old, _: old + 1,
    "sum": lambda old, value: _number(value) if old is None else old + _number(value),
    "min": lambda old, value: value if old is None or value < old else old,
    "max": lambda old, value: value if old is None or value > old else old,
    "mean": lambda old, value: [old[0] + _number(value), old[1] + 1],
    "first": lambda old, value: value if old is None else old,
    "last": lambda _, value: value,
}


def _finish(operation: Operation, value: Any) -> Any:
    if operation != "mean":
        return value
    total, count = value
    return total / count if count else None
