"""How items are grouped: the expressions of a `by` parameter, and one text for each group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from treadle.nodes.expression import ExpressionError, compile_all


class Groups:
    """Finds the group of an item: a text that is stable, sorts, and can be turned back into its fields."""

    def __init__(self, by: Mapping[str, str]) -> None:
        self._expressions = compile_all(dict(sorted(by.items())), where="by")

    def of(self, data: Mapping[str, Any]) -> str:
        """Return the group of an item."""
        values = [expression(data) for expression in self._expressions.values()]
        try:
            return json.dumps(values, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise ExpressionError(f"by: {values!r} can't name a group: {exc}", field="by") from exc

    def fields(self, group: str) -> dict[str, Any]:
        """Return the fields of a group, by their names in `by`."""
        return dict(zip(self._expressions, json.loads(group), strict=True))
