"""The parts of the controller's telemetry put together."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from treadle.telemetry.log_handler import TelemetryHandler
from treadle.telemetry.own import own_families
from treadle_controller.http.metrics import families_of
from treadle_controller.telemetry.calls import mark_call
from treadle_controller.telemetry.tracer import Tracer

if TYPE_CHECKING:
    from treadle.telemetry.metrics import Family
    from treadle_controller.config import ControllerConfig
    from treadle_controller.leader import Leader
    from treadle_controller.telemetry.sender import Sender


class Telemetry:
    """Makes the metrics, and sends them and spans to `otlp_endpoint` if it is set. `tracer` is None when it is not."""

    def __init__(self, config: ControllerConfig, leader: Leader) -> None:
        self.tracer: Tracer | None = None
        self._leader = leader
        self._sender: Sender | None = None
        self._handler: logging.Handler | None = None
        self._sending: asyncio.Task[None] | None = None
        if config.otlp_endpoint is not None:
            from treadle_controller.telemetry.sender import Sender  # noqa: PLC0415 - only where it is wanted

            self._sender = Sender(config.otlp_endpoint, config.name, config.namespace, config.otlp_interval_s)
            self.tracer = Tracer(config.traces_ratio, config.traces_per_second, self._sender.take)
            leader.tracer = self.tracer
            if config.otlp_logs:
                self._handler = TelemetryHandler(self._sender.log)
                self._handler.addFilter(mark_call)

    async def families(self) -> list[Family]:
        """Return the metrics of the cluster, and of telemetry itself."""
        own = own_families(None if self._sender is None else self._sender.exporter)
        return [*await families_of(self._leader), *own]

    def start(self) -> None:
        """Begin to send."""
        if self._handler is not None:
            logging.getLogger().addHandler(self._handler)
        if self._sender is not None:
            self._sending = asyncio.create_task(self._sender.run(self.families), name="telemetry")

    async def stop(self) -> None:
        """Send what is left, for a moment."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        if self._sender is not None:
            await self._sender.stop()
