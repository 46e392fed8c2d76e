"""The daemon: everything started in order, and stopped in the opposite one."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from treadle.endings import end
from treadle.queues.admin import QueueAdmin
from treadle_controller.access.authority import Authority
from treadle_controller.access.door import Door, TlsFiles
from treadle_controller.access.identities import Identities
from treadle_controller.api.audit import Audit
from treadle_controller.api.callers import Callers
from treadle_controller.api.context import Api
from treadle_controller.api.server import GrpcServer
from treadle_controller.config import ControllerConfig
from treadle_controller.errors import Deposed
from treadle_controller.http.server import HttpServer
from treadle_controller.leader import Leader
from treadle_controller.leader.applying import Applying
from treadle_controller.leader.commands import Commands
from treadle_controller.leader.image import Image
from treadle_controller.leader.link import QueueLink
from treadle_controller.leader.load import load_image
from treadle_controller.store import Store, assignments, events, workflows
from treadle_controller.store.leadership import Leadership
from treadle_controller.systemd import Notifier
from treadle_controller.telemetry.telemetry import Telemetry

_log = logging.getLogger(__name__)
_GC: Final = (50_000, 20, 100)  # loops are many small objects that stay: looking through them all takes long
# Between the event loop and threads that check a document or write to the store: with Python's 5 ms each of the two
# stands still so long for most of what it wants.
_SWITCH_S: Final = 0.001
_GRACE_S: Final = 1.0  # for calls under way; streams never end by themselves


class Daemon:
    """One controller. `run` serves until SIGTERM or SIGINT; a second one stops at once."""

    def __init__(self, config: ControllerConfig, *, address_file: Path | None = None) -> None:
        self._config = config
        self._address_file = address_file
        self._store = Store(config.store)
        self._leadership = Leadership(config.store)
        self._notifier = Notifier()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Start, serve, stop. Raises StartFailed when it can't start."""
        gc.set_threshold(*_GC)
        sys.setswitchinterval(_SWITCH_S)
        try:
            await self._leadership.acquire(_Waiting(self._notifier))
            await self._lead()
        finally:
            self._leadership.release()

    async def _lead(self) -> None:
        self._store.open()
        admin = QueueAdmin(
            self._config.redis.get_secret_value(), self._config.namespace, timeout_s=self._config.redis_timeout_s
        )
        try:
            await self._serve(await self._make_leader(admin))
        finally:
            await admin.close()
            self._store.close()

    async def _make_leader(self, admin: QueueAdmin) -> Leader:
        image, last_event, term, redis_id, beat = await self._store.write(self._load)
        gc.freeze()  # what was loaded stays: it need not be looked through again and again
        if self._leadership.contested:
            self._store.fence(term)
        link = QueueLink(admin, term=term, redis_id=redis_id, beat=beat)
        config = self._config
        expire_s = config.consumer_expire_s
        return Leader(self._store, image, link, name=config.name, last_event=last_event, consumer_expire_s=expire_s)

    def _load(self, connection: Connection) -> tuple[Image, int, int, str, int]:
        namespace = self._config.namespace
        redis_id = workflows.found_namespace(connection, namespace, time.time())
        term = assignments.raise_counter(connection, "term")
        beat = assignments.get_counter(connection, "beat")
        return load_image(connection, namespace), events.last_sequence(connection), term, redis_id, beat

    async def _serve(self, leader: Leader) -> None:
        await leader.start()
        config, audit = self._config, Audit(leader.journal, self._config.name)
        identities = Identities(self._store)
        await identities.load()
        door = _door(config, audit)
        if door is not None:
            identities.on_revoked = door.cut
        callers = Callers(identities, config.namespace, door)
        telemetry = Telemetry(config, leader)
        api = Api(
            *(leader, Commands(leader), Applying(leader), callers, identities, audit),
            signer=_authority(config),
            agent_certificate_s=config.agent_certificate_s,
            tracer=telemetry.tracer,
        )
        server = GrpcServer(api)
        http = HttpServer(leader, telemetry.families)
        running = asyncio.create_task(leader.run(), name="leader")
        telemetry.start()
        self._catch_signals()  # before anybody is told where we are, and may stop us in order
        try:
            await server.start(config.listen if door is None else door.behind)
            if door is not None:
                await door.open(config.listen)
            await http.start(config.http_listen)
            self._announce(server.address if door is None else door.address, http.address)
            await self._wait(running)
        finally:
            self._notifier.tell("STOPPING=1")
            await server.stop(_GRACE_S)
            if door is not None:
                await door.close()
            await http.stop()
            await end(running)
            await _save(leader)
            await telemetry.stop()

    def _announce(self, grpc_address: str, http_address: str) -> None:
        """Say where we are: one line on stdout for programs, and the file if one was asked for."""
        line = json.dumps({"grpc": grpc_address, "http": http_address})
        if self._address_file is not None:
            partial = self._address_file.with_name(self._address_file.name + ".partial")
            partial.write_text(line + "\n", encoding="ascii")
            partial.replace(self._address_file)
        print(line, flush=True)  # noqa: T201 - the one line that this program prints
        _log.info("the controller serves gRPC on %s and HTTP on %s", grpc_address, http_address)
        self._notifier.tell("READY=1", f"STATUS=serving on {grpc_address}")

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    async def _wait(self, running: asyncio.Task[None]) -> None:
        """Wait for a signal; a leader that fails takes the process with it."""
        stopping = asyncio.create_task(self._stopping.wait(), name="signals")
        beating = asyncio.create_task(self._feed_watchdog(), name="watchdog")
        holding = asyncio.create_task(self._leadership.hold(), name="leadership")
        done, _ = await asyncio.wait((running, stopping, holding), return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, beating, holding):
            task.cancel()
        await asyncio.gather(stopping, beating, holding, return_exceptions=True)
        for duty in (running, holding):
            if duty in done:
                _raise(duty)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            os._exit(1)
        _log.info("stopping")
        self._stopping.set()

    async def _feed_watchdog(self) -> None:
        while self._notifier.watchdog_s is not None:
            self._notifier.tell("WATCHDOG=1")
            await asyncio.sleep(self._notifier.watchdog_s / 3)


class _Waiting:
    """Says that another controller leads, once, and keeps systemd content meanwhile."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._told = False

    def __call__(self) -> None:
        if not self._told:
            self._told = True
            _log.info("another controller leads; this one waits until it ends")
            self._notifier.tell("READY=1", "STATUS=waiting: another controller leads")
        self._notifier.tell("WATCHDOG=1")


def _raise(task: asyncio.Task[None]) -> None:
    """Raise what a duty ended with; of a group, what it is about."""
    exc = task.exception()
    deposed = exc.subgroup(Deposed) if isinstance(exc, BaseExceptionGroup) else None
    if deposed is not None:
        raise Deposed("another controller leads now") from deposed
    if exc is not None:
        raise exc


async def _save(leader: Leader) -> None:
    """Write the last events; a store that can't be written must not keep the process."""
    try:
        async with asyncio.timeout(_GRACE_S):
            await leader.save_events()
    except (TimeoutError, Deposed):
        _log.warning("the last events could not be written")


def _door(config: ControllerConfig, audit: Audit) -> Door | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Door(TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca), audit.turned_away)


def _authority(config: ControllerConfig) -> Authority | None:
    if config.tls_ca_key is None or config.tls_client_ca is None:
        return None
    return Authority.load(config.tls_client_ca, config.tls_ca_key)
