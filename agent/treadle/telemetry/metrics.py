"""Metrics as plain data, and as text for Prometheus; `metric_encoding` has the other form.

A family has OpenTelemetry's name and unit; Prometheus' name follows from them by its conventions: `treadle.loop.errors`
is `treadle_loop_errors_total`, `treadle.node.duration` in `s` is `treadle_node_duration_seconds`. Families are made
anew each time from what is there, so that series of a loop that is gone are gone too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, str]

_SUFFIXES: Final = {"s": "seconds", "By": "bytes", "1/s": "per_second"}
# Every second power of two of nanoseconds from 1 us to 69 s: finer ones would be three times as many series.
_FIRST, _LAST, _STEP = 10, 36, 2
BOUNDS_S: Final = tuple(2**exponent / 1e9 for exponent in range(_FIRST, _LAST + 1, _STEP))


class Distribution(NamedTuple):
    """How often something took how long: `counts` by BOUNDS_S, those above the last one at the end."""

    counts: tuple[int, ...]
    total_s: float


@dataclass(slots=True)
class Family:
    """One metric with all its series. `unit` is UCUM, as OpenTelemetry wants it."""

    name: str
    kind: Kind
    unit: str
    help: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)
    distributions: list[tuple[Labels, Distribution]] = field(default_factory=list)

    def add(self, labels: Labels, value: float) -> None:
        """Add a series."""
        self.samples.append((labels, value))

    @property
    def prometheus_name(self) -> str:
        """Return the name that it has in Prometheus."""
        parts = [self.name.replace(".", "_")]
        rate = "1/s" if self.unit.endswith("/s") else self.unit
        suffix = _SUFFIXES.get(rate)
        if suffix is not None and not parts[0].endswith(f"_{suffix}"):
            parts.append(suffix)
        if self.kind == "counter":
            parts.append("total")
        return "_".join(parts)


def distribution(log2_ns: Sequence[int]) -> Distribution:
    """Make one of a histogram whose bucket `i` counts durations from 2^i to 2^(i+1) ns; its sum is an estimate."""
    counts = [0] * (len(BOUNDS_S) + 1)
    total = 0.0
    for exponent, count in enumerate(log2_ns):
        if count:
            upper = exponent + 1
            at = max(0, math.ceil((upper - _FIRST) / _STEP))
            counts[min(at, len(BOUNDS_S))] += count
            total += count * 1.5 * 2**exponent / 1e9
    return Distribution(tuple(counts), total)


def text(families: Iterable[Family]) -> str:
    """Return families as a page for Prometheus, version 0.0.4 of its format."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    name = family.prometheus_name
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.kind}"
    for labels, value in family.samples:
        yield f"{name}{_labels(labels)} {_number(value)}"
    for labels, found in family.distributions:
        sums = accumulate(found.counts)
        for bound, below in zip((*(f"{each:g}" for each in BOUNDS_S), "+Inf"), sums, strict=True):
            yield f"{name}_bucket{_labels({**labels, 'le': bound})} {below}"
        yield f"{name}_sum{_labels(labels)} {_number(found.total_s)}"
        yield f"{name}_count{_labels(labels)} {sum(found.counts)}"


def _number(value: float) -> str:
    # `g` keeps six digits: a counter has to be told to the last one.
    return str(int(value)) if value == int(value) else repr(float(value))


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
