"""The agent as a whole: its parts put together, its signals, and the order in which it starts and stops.

Start: forkserver (it loads while this program does), shared hosts and catalog, session. Stop, at SIGTERM: refuse new
loops, ask the controller to take over what runs and wait for that, drain alone if it does not, report, end the
session, end the children. A second SIGTERM ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from google.protobuf.timestamp_pb2 import Timestamp

from treadle.endings import end
from treadle.errors import ConfigError, TreadleError
from treadle.mistakes import is_mistake
from treadle.v1 import agent_pb2, event_pb2, loop_pb2
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.workflow.plan import Resources
from treadle_agent import enrolment, logs
from treadle_agent.errors import AgentError, EnrolmentRefused, StateInUse
from treadle_agent.frames import Address
from treadle_agent.secrets import SecretsProvider
from treadle_agent.session.machine import Identity, Machine
from treadle_agent.session.stream import Session
from treadle_agent.setup import Traces
from treadle_agent.supervisor.hosts import Template
from treadle_agent.supervisor.loops import Reporter
from treadle_agent.supervisor.record import Record
from treadle_agent.supervisor.status import reason
from treadle_agent.supervisor.supervisor import Supervisor, node_types
from treadle_agent.supervisor.tell import FLUSH_S
from treadle_agent.systemd import Notifier
from treadle_agent.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from treadle_agent.config import AgentConfig
    from treadle_agent.supervisor.spawner import Spawner

_log = logging.getLogger("treadle_agent")

TICK_S: Final = 1.0
REPORT_S: Final = 2.0  # at the end: for the controller to answer the last reports


def run(config: AgentConfig, spawner: Spawner) -> int:
    """Run the agent until it is told to stop; return the exit code. The spawner's forkserver may still be loading."""
    logs.configure(config.log_format, config.log_level)
    try:
        with _hold(config.state_dir), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Agent(config, spawner).run())
    except TreadleError as exc:
        _log.error("%s", exc.message, extra={"code": exc.code})
        # What only somebody can mend ends as a configuration does that is wrong from the start: nobody restarts it.
        return 2 if isinstance(exc, ConfigError | EnrolmentRefused) else 1


class Agent:
    """One agent process."""

    def __init__(self, config: AgentConfig, spawner: Spawner) -> None:
        self._config = config
        self._notifier = Notifier(os.environ)
        self._terminations = 0
        self._terminated = asyncio.Event()
        self._killed = asyncio.Event()
        self._renewed = asyncio.Event()
        self._session: Session | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._identity = Identity(
            agent=config.name,
            boot_id=secrets.token_hex(8),
            version=version("treadle"),
            labels=dict(config.labels),
            slots=agent_pb2.Slots(**config.slots.model_dump()),
        )
        self._machine = Machine(self._identity, config.controllers, random.random)
        self._supervisor = Supervisor(
            Template(
                agent=config.name,
                redis=config.redis.get_secret_value(),
                log_level=config.log_level,
                nodes=tuple(config.nodes),
                entry_points=config.entry_points,
                limits=Resources(**config.hosts.model_dump()),
                traces=Traces(config.traces.ratio, config.traces.per_second) if config.otlp_endpoint else None,
                secrets=SecretsProvider(config.secrets.folder, config.secrets.environment),
            ),
            spawner,
            Reporter(self._say_status, self._say_event, self._say_began),
        )
        self._telemetry = Telemetry(config, self._supervisor, lambda: self._machine.live)

    async def run(self) -> int:
        """Start, serve until told to stop, and stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        loop.add_signal_handler(signal.SIGHUP, self._renewed.set)
        try:
            await self._until_killed(self._serve())
        finally:
            await self._end()
        return 0

    async def _serve(self) -> None:
        await self._supervisor.start()
        self._tell_catalog()
        tls, identity = await enrolment.prepare(self._config)
        enrolment.refuse_plain_text(self._config, tls)
        self._session = Session(self._machine, self._deliver, tls=tls)
        self._session.start()
        await self._telemetry.start()
        self._tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("ticks", self._tick()),
                ("logs", self._send_logs()),
                ("watchdog", self._watchdog()),
                ("telemetry", self._telemetry.run()),
                ("renewals", self._renew()),
            )
        ]
        if identity is not None:
            renewing = enrolment.renew(identity, self._config.controllers)
            self._tasks.append(asyncio.create_task(renewing, name="certificate"))
        _log.info("agent ready", extra={"agent": self._config.name, "node_types": len(self._identity.node_types)})
        self._notifier.notify(READY="1", STATUS="running")
        stopping = asyncio.create_task(self._terminated.wait(), name="until told to stop")
        # A side task that dies silently is the worst that can happen: then the whole agent ends.
        done, _ = await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
        await self._leave()

    # Stopping.

    def _terminate(self) -> None:
        self._terminations += 1
        self._terminated.set()
        if self._terminations > 1:
            self._killed.set()

    async def _until_killed(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        killed = asyncio.create_task(self._killed.wait(), name="second signal")
        await asyncio.wait([task, killed], return_when=asyncio.FIRST_COMPLETED)
        for each in (killed, task):
            if not each.done():
                each.cancel()
                await asyncio.wait([each])
        if not task.cancelled():
            task.result()

    async def _leave(self) -> None:
        config = self._config
        self._notifier.notify(STOPPING="1", STATUS="draining")
        _log.info("agent stops: draining %d loops", len(self._supervisor.loops.running))
        self._supervisor.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(config.stop_deadline_s):
                await self._hand_over(config.farewell_s)
                await self._supervisor.drain()
        for record in self._supervisor.loops.running:
            _log.warning("loop %s did not stop in time and is killed", record.address)
        await self._last_reports()

    async def _hand_over(self, limit_s: float) -> None:
        """Have the controller take our loops away one by one, as long as it is there and does so."""
        if self._session is None or not self._machine.live:
            return
        self._session.act(self._machine.farewell(limit_s))
        idle = asyncio.create_task(self._supervisor.idle(), name="until idle")
        deadline = time.monotonic() + limit_s
        while not idle.done() and self._machine.live and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait([idle], timeout=min(left, 0.1))
        idle.cancel()
        await asyncio.wait([idle])

    async def _last_reports(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPORT_S):
                while self._session is not None and self._machine.live and not self._machine.reported:
                    await self._session.acted()

    async def _end(self) -> None:
        await end(*self._tasks)
        if self._session is not None:
            await self._session.stop()
        await self._supervisor.stop()
        await self._telemetry.stop()
        _log.info("agent stopped", extra={"agent": self._config.name})

    # Duties.

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            contact = self._machine.contact_at
            silent = 0.0 if self._machine.live or contact is None else time.monotonic() - contact
            self._machine.redis_reachable = self._supervisor.probe.reachable
            self._machine.redis_silence_s = self._supervisor.probe.silence_s
            self._supervisor.silence(silent)

    async def _send_logs(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            for batch in self._supervisor.logs.flush():
                if self._session is not None:
                    self._session.act(self._machine.logs(batch))

    def _tell_catalog(self) -> None:
        self._identity.node_types = node_types(self._supervisor.catalog)
        self._identity.catalog_errors = [r for why in self._supervisor.catalog.errors if (r := reason(why))]

    async def _renew(self) -> None:
        """Look for new code of nodes whenever SIGHUP asks for it; a new session tells the controller."""
        while True:
            await self._renewed.wait()
            self._renewed.clear()
            if not await self._supervisor.renew():
                _log.info("the nodes have no new code")
            elif self._session is not None:
                self._tell_catalog()
                _log.info("the nodes have new code", extra={"node_types": len(self._identity.node_types)})
                self._session.act(self._machine.broken("the nodes have new code", time.monotonic()))

    async def _watchdog(self) -> None:
        await self._notifier.keep_alive()
        await asyncio.Event().wait()

    # Between session and supervisor.

    def _deliver(self, message: object) -> None:
        match message:
            case wire.Welcome():
                _log.info("in session", extra={"controller": message.controller, "session": message.session_id})
                self._supervisor.welcome(message)
            case wire.Assignments():
                self._supervisor.take(message)
            case wire.LogSubscription():
                self._supervisor.subscribe(message)

    def _say_status(self, status: loop_pb2.LoopStatus, urgent: bool, last: bool) -> None:  # noqa: FBT001 - Reporter
        self._machine.status(status, urgent=urgent, last=last)
        self._flush(needed=urgent or last)

    def _say_event(self, address: Address, code: str, message: str) -> None:
        now = Timestamp()
        now.GetCurrentTime()
        self._machine.event(
            event_pb2.Event(
                time=now,
                kind="loop",
                name=str(address.key),
                namespace=address.namespace,
                code=code,
                message=message,
                actor=f"agent {self._config.name}",
            )
        )
        self._flush(needed=True)

    def _say_began(self, record: Record) -> None:
        self._telemetry.began(record)

    def _flush(self, *, needed: bool) -> None:
        if needed and self._session is not None:
            self._session.flush_soon()


@contextlib.contextmanager
def _hold(folder: Path | None) -> Iterator[None]:
    """Hold the state folder against a second agent. Raises StateInUse, ConfigError or, on a full disk, AgentError."""
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / "agent.lock").open("w")
    except OSError as exc:
        kind = ConfigError if is_mistake(exc) else AgentError
        raise kind(f"the state folder {folder} can't be used: {exc.strerror}", folder=str(folder)) from exc
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise StateInUse(f"another agent uses the state folder {folder}", folder=str(folder)) from exc
        yield
