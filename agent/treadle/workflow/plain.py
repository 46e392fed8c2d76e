"""Plain values: what stays of a JSON value when a JavaScript editor saves it again."""

from __future__ import annotations

from typing import Any, Final

_EXACT_IN_FLOAT: Final = 2**53


def plain(value: Any) -> Any:
    """The value with whole floats as integers: 1.0 and 1 are one number in JavaScript."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT_IN_FLOAT else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value
