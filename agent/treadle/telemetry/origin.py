"""Where a trace comes from: the W3C's `traceparent`, as it travels in messages and in the metadata of calls."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from treadle.telemetry.conventions import BAGGAGE, TRACEPARENT, TRACESTATE

_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_LONGEST: Final = {TRACESTATE: 512, BAGGAGE: 8192}  # by the W3C; what is longer is not passed on


class Origin(NamedTuple):
    """A span of somebody else, or of ours in another loop. `state` is its `tracestate`, "" for none."""

    trace_id: int
    span_id: int
    sampled: bool = True
    state: str = ""

    @property
    def traceparent(self) -> str:
        """Return it as it travels."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def read_origin(headers: Mapping[str, Any] | None) -> Origin | None:
    """Return the origin that headers name; None when they name none, or something that is none."""
    text = None if headers is None else headers.get(TRACEPARENT)
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if headers is None or found is None or (found[4] and text.startswith("00")):  # type: ignore[union-attr]
        return None
    state = headers.get(TRACESTATE)
    told = state if isinstance(state, str) and len(state) <= _LONGEST[TRACESTATE] else ""
    return Origin(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & _SAMPLED), told)


def context_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return what of the metadata of a call goes on with its messages: trace context and baggage."""
    kept = {TRACEPARENT: headers[TRACEPARENT]} if read_origin(headers) is not None else {}
    for key in (TRACESTATE, BAGGAGE) if kept else (BAGGAGE,):
        value = headers.get(key)
        if isinstance(value, str) and 0 < len(value) <= _LONGEST[key]:
            kept[key] = value
    return kept


def new_trace_id() -> int:
    """Return a trace id that is not zero."""
    return random.getrandbits(128) | 1


def new_span_id() -> int:
    """Return a span id that is not zero."""
    return random.getrandbits(64) | 1
