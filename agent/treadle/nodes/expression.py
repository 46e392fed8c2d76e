"""CEL expressions in node parameters: compiled once, evaluated over the payload as `data`.

The language is Google's Common Expression Language (no loops, no side effects, never Python's eval), with the
string, math and list functions that its implementations usually bring: `split`, `substring`, `lastIndexOf`,
`trim`, `math.round`, ... It does not mix integers and floats in arithmetic: write `double(data.n) * 1.5`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from treadle.errors import ConfigError, Permanent


class ExpressionSyntaxError(ConfigError):
    """A parameter holds an expression that is not CEL."""

    code = "bad-expression"


class ExpressionError(Permanent):
    """An expression can't be evaluated for this input; `details` names parameter and expression."""

    code = "expression-failed"


class Expression:
    """One compiled expression. `where` names the parameter that holds it, for error messages.

    Raises ExpressionSyntaxError when it is not CEL.
    """

    def __init__(self, source: str, *, where: str) -> None:
        import cel  # noqa: PLC0415 - nodes import what is heavy when they open

        self.source = source
        self.where = where
        try:
            self._program = cel.compile(source)
        except ValueError as exc:
            message = f"{where}: {source!r} is not CEL: {exc}"
            raise ExpressionSyntaxError(message, field=where, expression=source) from exc
        self._context = _with_functions() if _needs_functions(self._program) else None

    def __call__(self, data: Mapping[str, Any], **variables: Any) -> Any:
        """Return the value, as JSON-like data. Raises ExpressionError."""
        scope = {"data": data if type(data) is dict else dict(data), **variables}
        try:
            return plain(self._evaluate(scope))
        except Exception as exc:
            what = f"no field {exc}" if isinstance(exc, KeyError) else str(exc)
            message = f"{self.where}: {self.source!r} failed: {what}"
            raise ExpressionError(message, field=self.where, expression=self.source) from exc

    def _evaluate(self, scope: dict[str, Any]) -> Any:
        if self._context is None:
            return self._program.execute(scope)
        self._context.update(scope)
        return self._program.execute(self._context)


def compile_all(sources: Mapping[str, str], *, where: str) -> dict[str, Expression]:
    """Compile a mapping of expressions; each is named `<where>.<key>` in errors."""
    return {name: Expression(source, where=f"{where}.{name}") for name, source in sources.items()}


def plain(value: Any) -> Any:
    """Return what an expression gave as JSON-like data: timestamps as ISO 8601, durations as seconds."""
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    return plain(value.or_value(None))  # the one type left that CEL gives: an optional


def _needs_functions(program: Any) -> bool:
    from cel.stdlib import STDLIB_FUNCTIONS  # noqa: PLC0415 - heavy

    known = {name.rpartition(".")[2] for name in STDLIB_FUNCTIONS}
    return not known.isdisjoint(name.rpartition(".")[2] for name in program.functions())


def _with_functions() -> Any:
    import cel  # noqa: PLC0415 - heavy
    from cel.stdlib import add_stdlib_to_context  # noqa: PLC0415 - heavy

    context = cel.Context()
    add_stdlib_to_context(context)
    return context
