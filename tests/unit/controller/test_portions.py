"""Much that is placed at once goes out in parts: on disk before Redis hears of it, in Redis before it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Connection

from tests.unit.controller.builders import agent, compiled, fleet, loop
from treadle.queues.tenure import LoopKey
from treadle_controller.cluster.model import Assignment, ReplicaId
from treadle_controller.leader import Leader
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.leader.link import QueueLink
from treadle_controller.leader.stream import AgentStream
from treadle_controller.store import Store, assignments, workflows
from treadle_controller.store.records import WorkflowRecord

LOOPS: Final = 60
AGENTS: Final = 6
_PATIENCE_S: Final = 20.0


def _load(connection: Connection) -> list[Assignment]:
    return assignments.load_assignments(connection, "default")


class Admin:
    """Redis that notes what it is told, and what was on disk by then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.told: list[list[ReplicaId]] = []
        self.early: list[LoopKey] = []  # epochs that were not on disk
        self.renew: dict[str, Leader] = {}  # is given new epochs in the middle of the next call of this name
        self.waits_for: set[ReplicaId] = set()  # that are on disk, before it answers the next call

    async def assign(self, loops: Sequence[tuple[LoopKey, int]], term: int) -> dict[LoopKey, int]:
        epochs = self._stored()
        self.early += [key for key, epoch in loops if epochs.get(ReplicaId(*key)) != epoch]
        self.told.append([ReplicaId(*key) for key, _ in loops])
        self._lose("assign")
        async with asyncio.timeout(_PATIENCE_S):
            while not self.waits_for <= {one.id for one in await self._store.read(_load)}:
                pass
        self.waits_for = set()
        return {}

    def _stored(self) -> dict[ReplicaId, int]:
        return {one.id: one.epoch for one in self._store.read_now(_load)}

    async def enter_writers(self, queues: object, drop: object = None) -> None:
        self._lose("enter_writers")

    def _lose(self, call: str) -> None:
        if call in self.renew:
            self.renew.pop(call).lost_writes("w/l0/0")

    async def set_limits(self, limits: object) -> None: ...

    async def forget(self, *keys: LoopKey) -> None: ...


def make_leader(store: Store, pushes: tuple[str, ...] = ()) -> tuple[Leader, Admin]:
    loops = [loop(f"l{number}", pushes=pushes) for number in range(LOOPS)]
    workflow = WorkflowImage(WorkflowRecord("w", 1, "d", 0.0, 0.0), compiled(*(one.plan for one in loops)))
    workflow.put_loops(loops)
    image = Image("default", {"w": workflow}, mirror_whole=False)
    image.fleet = fleet(*(agent(f"a{number}", slots=LOOPS) for number in range(AGENTS)))
    admin = Admin(store)
    link = QueueLink(admin, term=1, redis_id="r")  # type: ignore[arg-type] # what is asked of it is there
    link.up = True
    leader = Leader(store, image, link, name="c", last_event=0)
    leader.portions.most = LOOPS // 3
    for name in image.fleet.agents:
        leader.roster.streams[name] = AgentStream(name, "s", time.monotonic)
    leader.touch("w")
    return leader, admin


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(f"sqlite:///{tmp_path}/controller.db")
    opened.open()
    return opened


async def _messages(leader: Leader) -> dict[str, list[int]]:
    """Return how many assignments came in each message, by agent."""
    await asyncio.sleep(0)
    found: dict[str, list[int]] = {}
    for name, stream in leader.roster.streams.items():
        stream.end()
        found[name] = []
        while (message := await stream.next_message()) is not None:
            found[name].append(len(message.assignments.set))
    return found


def test_each_part_is_on_disk_before_redis_hears_of_it_and_an_agent_gets_one_message(store: Store) -> None:
    leader, admin = make_leader(store)

    async def play() -> dict[str, list[int]]:
        await store.write(lambda connection: workflows.found_namespace(connection, "default", 0.0))
        await leader.run_once()
        return await _messages(leader)

    sent = asyncio.run(play())
    store.close()

    assert [len(told) for told in admin.told] == [LOOPS // 3] * 3
    assert len({id_ for told in admin.told for id_ in told}) == LOOPS
    assert admin.early == []
    assert sent == {f"a{number}": [LOOPS // AGENTS] for number in range(AGENTS)}
    assert leader.unsent == {}


def test_the_next_part_is_written_while_redis_has_the_one_before(store: Store) -> None:
    leader, admin = make_leader(store)
    workflow = leader.image.workflows["w"]

    async def play() -> None:
        await store.write(lambda connection: workflows.found_namespace(connection, "default", 0.0))
        leader.portions.most = LOOPS // 2
        admin.waits_for = {id_ for loop in workflow.loops.values() for id_ in loop.replicas}
        await leader.run_once()

    asyncio.run(play())
    store.close()

    assert [len(told) for told in admin.told] == [LOOPS // 2] * 2
    assert admin.early == []
    assert leader.unsent == {}


@pytest.mark.parametrize("call", ["assign", "enter_writers"])
def test_epochs_that_are_given_out_anew_meanwhile_wait_until_they_are_on_disk(store: Store, call: str) -> None:
    leader, admin = make_leader(store, pushes=("out",))
    admin.renew[call] = leader

    async def play() -> None:
        await store.write(lambda connection: workflows.found_namespace(connection, "default", 0.0))
        await leader.run_once()
        await leader.run_once()

    asyncio.run(play())
    stored = store.read_now(_load)
    store.close()

    assert admin.early == []
    assert {one.id: one.epoch for one in stored} == {
        id_: one.epoch for id_, one in leader.image.workflows["w"].assignments.items()
    }
    assert not admin.renew, "the fault has to bite"
    assert {id_ for told in admin.told[1:] for id_ in told} == {one.id for one in stored}
    assert leader.unsent == {}
