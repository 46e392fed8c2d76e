"""What telemetry tells of itself: how much was sent, and how much was lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.telemetry.metrics import Family

if TYPE_CHECKING:
    from treadle.telemetry.export import Exporter


def own_families(exporter: Exporter | None) -> list[Family]:
    """Return the families; without an exporter they have no series."""
    sent = Family("treadle.telemetry.sent", "counter", "{item}", "Spans, points and log records that were taken.")
    dropped = Family("treadle.telemetry.dropped", "counter", "{item}", "Spans, points and log records that were lost.")
    waiting = Family("treadle.telemetry.waiting", "gauge", "By", "Telemetry that waits for the collector.")
    if exporter is not None:
        waiting.add({}, exporter.waiting_bytes)
        for signal, tally in exporter.tally.items():
            sent.add({"signal": signal}, tally.sent)
            dropped.add({"signal": signal}, tally.dropped)
    return [sent, dropped, waiting]
