"""The parts of an agent's telemetry put together: what is not wanted is not loaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle_agent.supervisor.tell import LOGGERS

if TYPE_CHECKING:
    from treadle.telemetry.metrics import Family
    from treadle_agent.config import AgentConfig
    from treadle_agent.supervisor.record import Record
    from treadle_agent.supervisor.supervisor import Supervisor
    from treadle_agent.telemetry.page import MetricsPage
    from treadle_agent.telemetry.sender import Sender

_log = logging.getLogger(__name__)


class Telemetry:
    """Sends to `otlp_endpoint` and serves a page on `http_listen`, each if it is set."""

    def __init__(self, config: AgentConfig, supervisor: Supervisor, in_session: Callable[[], bool]) -> None:
        self._config = config
        self._supervisor = supervisor
        self._in_session = in_session
        self._sender: Sender | None = None
        self._page: MetricsPage | None = None
        self._handler: logging.Handler | None = None

    async def start(self) -> None:
        """Begin. Raises ListenFailed or ConfigError when the page's address can't be used."""
        config = self._config
        if config.otlp_endpoint is not None:
            from treadle_agent.telemetry.sender import Sender  # noqa: PLC0415 - only where it is wanted

            hosts = self._supervisor.hosts
            self._sender = Sender(
                config.otlp_endpoint,
                config.name,
                config.otlp_interval_s,
                self._families,
                lambda on: hosts.mute(on=on),
            )
            self._supervisor.on_spans = self._sender.take
            if config.otlp_logs:
                from treadle.telemetry.log_handler import TelemetryHandler  # noqa: PLC0415 - the same

                self._supervisor.logs.on_record = self._sender.log
                self._handler = TelemetryHandler(self._sender.log, besides=LOGGERS)
                logging.getLogger().addHandler(self._handler)
        if config.http_listen is not None:
            from treadle_agent.telemetry.page import MetricsPage  # noqa: PLC0415 - the same

            self._page = MetricsPage(self._families)
            await self._page.start(config.http_listen)
            _log.info("metrics on http://%s/metrics", self._page.address)

    def began(self, record: Record) -> None:
        """Trace the start of a loop, if its assignment is traced."""
        if self._sender is not None:
            self._sender.began(record)

    async def run(self) -> None:
        """Send for ever."""
        if self._sender is not None:
            await self._sender.run()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Send what is left, for a moment, and close the page."""
        if self._page is not None:
            await self._page.stop()
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
        if self._sender is not None:
            await self._sender.stop()

    def _families(self) -> list[Family]:
        from treadle.telemetry.own import own_families  # noqa: PLC0415 - the same
        from treadle_agent.telemetry.figures import families  # noqa: PLC0415 - the same

        supervisor = self._supervisor
        found = families(
            supervisor.loops.records,
            log_lines_dropped=supervisor.logs.lost,
            in_session=self._in_session(),
            redis_up=supervisor.probe.reachable,
        )
        return [*found, *own_families(None if self._sender is None else self._sender.exporter)]
