"""A simulated controller: the real leader, dispatcher, commands and applying; disk, Redis and streams are simulated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any, Final

from sqlalchemy import Connection

from tests.chaos.cluster.clockwork import Clockwork, Process
from tests.chaos.cluster.disk import Disk, DiskStore
from tests.chaos.cluster.fences import Admin, Fences
from tests.chaos.cluster.network import Stream
from treadle.v1 import dispatcher_service_pb2 as pb
from treadle_controller.access.identities import Identities
from treadle_controller.api.audit import Audit
from treadle_controller.api.callers import Callers
from treadle_controller.api.context import Api
from treadle_controller.api.dispatcher import DispatcherService
from treadle_controller.leader import Leader
from treadle_controller.leader.applying import Applying
from treadle_controller.leader.commands import Commands
from treadle_controller.leader.image import Image
from treadle_controller.leader.link import QueueLink
from treadle_controller.leader.load import load_image
from treadle_controller.store import assignments, events, workflows

NAMESPACE: Final = "default"
Note = Callable[[str, str, str, str], None]


class Refused(Exception):
    """A stream was aborted."""


class _Context:
    """What the dispatcher asks of gRPC."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def write(self, response: pb.SessionResponse) -> None:
        self._stream.answer(response)

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "simulated"

    async def abort_with_status(self, status: object) -> None:
        raise Refused(str(status))

    async def abort(self, code: object, details: str = "", trailing_metadata: object = ()) -> None:
        raise Refused(details)


class ControllerProcess:
    """One controller process on a disk. `leader` is there once it has started."""

    def __init__(
        self,
        clockwork: Clockwork,
        disk: Disk,
        fences: Fences,
        chance: Random,
        *,
        number: int,
        reaches: Callable[[], bool],
        note: Note,
        portion: int,
    ) -> None:
        self.process = Process(clockwork, f"controller.{number}")
        self.started_at: float | None = None
        self.leader: Leader | None = None
        self.api: Api
        self._store = DiskStore(disk, self.process)
        self._admin = Admin(fences, chance, reaches)
        self._note = note
        self._portion = portion
        self._dispatcher: DispatcherService

    def start(self, on_ready: Callable[[ControllerProcess], None]) -> None:
        self._on_ready = on_ready
        self.process.call_soon(lambda: self.process.spawn(self._start(), "start"))

    async def _start(self) -> None:
        image, last_event, term, redis_id = await self._store.write(self._load)
        link = QueueLink(self._admin, term=term, redis_id=redis_id)  # type: ignore[arg-type] # what is asked is there
        leader = Leader(
            self._store,  # type: ignore[arg-type] # the same
            image,
            link,
            name=self.process.name,
            last_event=last_event,
            clock=self.process.time,
        )
        leader.portions.most = self._portion
        self._listen_in(leader)
        await leader.start()
        self.leader, self.started_at = leader, self.process.time()
        identities = Identities(self._store)  # type: ignore[arg-type] # the same
        callers, audit = Callers(identities, NAMESPACE, None), Audit(leader.journal, leader.name)
        self.api = Api(leader, Commands(leader), Applying(leader), callers, identities, audit)
        self._dispatcher = DispatcherService(self.api)
        for name, duty in leader.duties().items():
            self.process.spawn(duty, f"leader {name}")
        self._on_ready(self)

    def _load(self, connection: Connection) -> tuple[Image, int, int, str]:
        redis_id = workflows.found_namespace(connection, NAMESPACE, 0.0)
        term = assignments.raise_counter(connection, "term")
        return load_image(connection, NAMESPACE), events.last_sequence(connection), term, redis_id

    def _listen_in(self, leader: Leader) -> None:
        """Hear of each event as it is added: that is what the leader decided and saw."""
        add = leader.journal.add

        def heard(kind: str, name: str, code: str, message: str, **more: Any) -> None:
            if self.process.alive:  # what is left of a dead one may be cleared away at any time
                self._note(kind, name, code, message)
                add(kind, name, code, message, **more)

        setattr(leader.journal, "add", heard)  # noqa: B010 - a plain assignment is an error to type checkers

    def accept(self, stream: Stream) -> None:
        stream.serving = self.process.spawn(self._serve(stream), f"stream {stream.number}")

    async def _serve(self, stream: Stream) -> None:
        try:
            await self._dispatcher.Session(_requests(stream), _Context(stream))  # type: ignore[arg-type] # all it asks of
        except Refused:
            pass
        finally:
            stream.finish()


async def _requests(stream: Stream) -> AsyncIterator[pb.SessionRequest]:
    while (request := await stream.requests.get()) is not None:
        yield request
