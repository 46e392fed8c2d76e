"""The nodes of the telemetry benchmark, as the loop benchmark has them."""

from __future__ import annotations

from tests.bench.loop import Add, Number

__all__ = ["Add", "Number"]
