"""Metrics in OpenTelemetry's wire format."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope

from treadle.telemetry import conventions as c
from treadle.telemetry.metrics import BOUNDS_S, Distribution, Family, Labels
from treadle.telemetry.wire import FIRST, SECOND, THIRD, attribute, field, kept_attribute, text, varint

if TYPE_CHECKING:
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

# Tags: the number of a field and its type.
_TIMES: Final = Struct("<cQcQ")  # start_time_unix_nano, time_unix_nano
_WHOLE, _REAL = Struct("<cq"), Struct("<cd")
_COUNT: Final = Struct("<cQcd")  # count, sum
_BUCKETS: Final = Struct(f"<{len(BOUNDS_S) + 1}Q")
_BOUNDS: Final = field(b"\x3a", Struct(f"<{len(BOUNDS_S)}d").pack(*BOUNDS_S))
_POINT: Final = FIRST
_MOST: Final = 2**63  # of whole numbers
_CUMULATIVE, _MONOTONIC = b"\x10\x02", b"\x18\x01"
_KINDS: Final = {"gauge": b"\x2a", "counter": b"\x3a", "histogram": b"\x4a"}
_ABOUT: Final = {"gauge": b"", "counter": _CUMULATIVE + _MONOTONIC, "histogram": _CUMULATIVE}
_OF_NUMBER, _OF_HISTOGRAM = b"\x3a", b"\x4a"  # attributes

# Labels that are attributes of spans too.
_NAMES: Final = {
    **{key: f"treadle.{key}" for key in ("namespace", "workflow", "loop", "replica", "node", "agent", "pool", "state")},
    "queue": c.MESSAGING_DESTINATION_NAME,
    "outcome": c.OUTCOME,
    "signal": c.SIGNAL,
}
_MANY: Final = frozenset({"workflow", "loop", "node", "queue"})  # labels with more values than are worth keeping


def encode_metrics(families: Iterable[Family], resource: Resource, *, since_ns: int, now_ns: int) -> tuple[bytes, int]:
    """Return an export request for families, and how many data points it holds."""
    families = list(families)  # held: see _Points
    points = _Points(_TIMES.pack(b"\x11", since_ns, b"\x19", now_ns))
    scope = field(FIRST, InstrumentationScope(name=c.SCOPE).SerializeToString())
    metrics = b"".join([field(SECOND, points.metric(family)) for family in families])
    schema = field(THIRD, c.SCHEMA_URL.encode())
    of_resource = field(FIRST, resource.SerializeToString()) + field(SECOND, scope + metrics + schema) + schema
    return field(FIRST, of_resource), points.count


class _Points:
    """Writes data points of one moment. Many share their labels, which are written once."""

    def __init__(self, times: bytes) -> None:
        self.count = 0
        self._times = times
        self._labels: dict[tuple[bytes, int], bytes] = {}  # by the identity of what lives as long as the families

    def metric(self, family: Family) -> bytes:
        points = [self._number(labels, value) for labels, value in family.samples]
        points += [self._histogram(labels, found) for labels, found in family.distributions]
        self.count += len(points)
        about = text(FIRST, family.name) + text(SECOND, family.help) + text(THIRD, family.unit)
        data = b"".join([field(_POINT, point) for point in points]) + _ABOUT[family.kind]
        return about + field(_KINDS[family.kind], data)

    def _number(self, labels: Labels, value: float) -> bytes:
        whole = abs(value) < _MOST and value == int(value)
        number = _WHOLE.pack(b"\x31", int(value)) if whole else _REAL.pack(b"\x21", value)
        return self._attributes(_OF_NUMBER, labels) + self._times + number

    def _histogram(self, labels: Labels, found: Distribution) -> bytes:
        counted = _COUNT.pack(b"\x21", sum(found.counts), b"\x29", found.total_s)
        buckets = b"\x32" + varint(_BUCKETS.size) + _BUCKETS.pack(*found.counts)
        return self._attributes(_OF_HISTOGRAM, labels) + self._times + counted + buckets + _BOUNDS

    def _attributes(self, tag: bytes, labels: Labels) -> bytes:
        """Return labels as attributes, named as those of spans are."""
        known = self._labels.get((tag, id(labels)))
        if known is None:
            known = self._labels[tag, id(labels)] = b"".join(
                [
                    (attribute if key in _MANY else kept_attribute)(tag, _NAMES.get(key, key), value)
                    for key, value in labels.items()
                ]
            )
        return known
