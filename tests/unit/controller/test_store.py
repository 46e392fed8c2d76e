"""What is written is what is read, whatever happens to the process in between."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import Connection, create_engine, text

from tests.unit.controller.builders import compiled, loop, plan
from treadle.workflow.node_type import NodeType
from treadle.workflow.plan import Queue, QueueLimits
from treadle_controller.cluster.model import Assignment, Desired, ReplicaId
from treadle_controller.errors import NeedsMending, StoreInUse
from treadle_controller.leader.load import load_image
from treadle_controller.store import Store, agents, assignments, dictionary, events, requests, workflows
from treadle_controller.store.records import (
    AgentRecord,
    AnswerRecord,
    EventRecord,
    QueueRecord,
    RevisionRecord,
    WorkflowRecord,
)
from treadle_controller.store.schema import METADATA


def opened(folder: Path) -> Store:
    store = Store(f"sqlite:///{folder / 'controller.db'}")
    store.open()
    return store


def event(sequence: int, workflow: str = "w") -> EventRecord:
    return EventRecord(sequence, 1.0, "loop", "w/a/0", "default", workflow, "loop-placed", "placed", "controller")


def test_everything_that_is_wanted_and_assigned_survives(tmp_path: Path) -> None:
    made = plan("a")
    record = WorkflowRecord("w", 2, "d", 1.0, 2.0)
    queue = Queue("raw", QueueLimits(messages=None), writers=("a",), external=True)
    assignment = Assignment(
        ReplicaId("w", "a", 0), agent="one", held=True, epoch=41, sequence=3, revision=2, digest="d1", committed=7
    )
    agent = AgentRecord("one", "1.0", {"zone": "north"}, {"thread": 4}, ("x.work",), cordoned=True, seen=3.0)
    node_type = NodeType("x.work", "node", {"type": "object"}, stateful=True)

    def write(connection: Connection) -> None:
        workflows.put_workflow(connection, "default", record)
        workflows.add_revision(
            connection, "default", RevisionRecord("w", 2, "d", b"{}", compiled(made), "somebody", 2.0)
        )
        workflows.put_loops(connection, "default", [loop("a", desired=Desired.PAUSED, restarts=2, revision=2)])
        assignments.put_assignments(connection, "default", [assignment])
        assignments.put_counter(connection, "epoch", 44)
        agents.put_agent(connection, agent)
        agents.put_node_types(connection, [node_type])
        dictionary.put_queues(connection, "default", "w", [QueueRecord("w", queue)])

    first = opened(tmp_path)
    asyncio.run(first.write(write))
    first.close()
    second = opened(tmp_path)
    image = second.read_now(lambda connection: load_image(connection, "default"))
    second.close()

    workflow = image.workflows["w"]
    assert workflow.record == record
    assert workflow.compiled == compiled(made)
    assert workflow.loops["a"] == loop("a", desired=Desired.PAUSED, restarts=2, revision=2)
    assert workflow.assignments == {assignment.id: assignment}
    assert image.epoch == 44
    assert image.agents == {"one": agent}
    assert image.fleet.agents["one"].used == {"thread": 1}
    assert image.node_types == {"x.work": node_type}
    assert image.queues == {("raw", "w"): QueueRecord("w", queue)}


def test_many_writes_share_transactions_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    store = opened(tmp_path)

    async def write_many() -> list[int]:
        return await asyncio.gather(
            *(store.write(lambda connection: assignments.raise_counter(connection, "term")) for _ in range(50))
        )

    assert sorted(asyncio.run(write_many())) == list(range(1, 51))
    store.close()


def test_a_write_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    store = opened(tmp_path)

    def fail(_: Connection) -> None:
        raise LookupError("no")

    async def write_both() -> tuple[object, object]:
        good = store.write(lambda connection: assignments.raise_counter(connection, "term"))
        return await asyncio.gather(store.write(fail), good, return_exceptions=True)

    failed, answered = asyncio.run(write_both())
    store.close()

    assert isinstance(failed, LookupError)
    assert answered == 1


@pytest.mark.parametrize("count", [1, 15, 16, 17, 129, 1_024, 3_333])
def test_rows_are_put_many_in_a_statement_and_each_is_there_as_last_put(tmp_path: Path, count: int) -> None:
    store = opened(tmp_path)
    first = [Assignment(ReplicaId("w", f"l{at}", at % 3), agent="100%s", epoch=at) for at in range(count)]
    later = [structs.replace(one, agent="two", sequence=one.sequence + 1) for one in first[count // 2 :]]

    def write(connection: Connection) -> None:
        assignments.put_assignments(connection, "default", first)
        assignments.put_assignments(connection, "default", later)

    async def play() -> list[Assignment]:
        await store.write(write)
        return await store.read(lambda connection: assignments.load_assignments(connection, "default"))

    found = asyncio.run(play())
    store.close()
    assert sorted(found, key=lambda one: one.epoch) == first[: count // 2] + later


def test_a_second_store_on_the_file_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(StoreInUse, match="another controller"):
        opened(tmp_path)

    assert asyncio.run(first.write(lambda connection: assignments.raise_counter(connection, "term"))) == 1
    first.close()
    opened(tmp_path).close()


def test_the_migrations_make_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    opened(tmp_path).close()
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = create_engine(f"sqlite:///{tmp_path / 'controller.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_a_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'controller.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(NeedsMending, match="newer"):
        opened(tmp_path)


def test_only_the_newest_events_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT", 3)
    store = opened(tmp_path)
    asyncio.run(store.write(lambda connection: events.add_events(connection, [event(n) for n in range(1, 8)])))

    listed = store.read_now(
        lambda connection: events.list_events(connection, "default", events.Wanted("w"), after=0, most=10)
    )
    store.close()

    assert [one.sequence for one in listed] == [5, 6, 7]


def test_a_flood_of_one_workflow_leaves_what_others_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("KEPT", 10), ("SHARE", 4), ("TRIM_EVERY", 1)):
        monkeypatch.setattr(events, name, value)
    store = opened(tmp_path)
    applied = structs.replace(event(2), kind="workflow", name="w", code="workflow-applied")

    def add(*added: EventRecord) -> None:
        asyncio.run(store.write(lambda connection: events.add_events(connection, added)))

    add(event(1, "other"), applied)
    add(*(event(n) for n in range(3, 23)))  # at once
    for n in range(23, 43):
        add(event(n))  # one by one

    listed = store.read_now(
        lambda connection: events.list_events(connection, "default", events.Wanted(), after=0, most=99)
    )
    store.close()

    assert [one.sequence for one in listed] == [1, 2, 39, 40, 41, 42]


def test_of_many_workflows_the_oldest_events_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("KEPT", 10), ("SHARE", 4), ("TRIM_EVERY", 1)):
        monkeypatch.setattr(events, name, value)
    store = opened(tmp_path)
    for n in range(1, 31):
        asyncio.run(store.write(partial(events.add_events, events=[event(n, f"w{n}")])))

    listed = store.read_now(
        lambda connection: events.list_events(connection, "default", events.Wanted(), after=0, most=99)
    )
    store.close()

    assert [one.sequence for one in listed] == list(range(21, 31))


def test_answers_are_found_by_request_id_and_forgotten_after_an_hour(tmp_path: Path) -> None:
    store = opened(tmp_path)
    old = AnswerRecord("r1", "Apply", "f", b"1", created=0.0)
    new = AnswerRecord("r2", "Apply", "f", b"2", created=4_000.0)
    asyncio.run(store.write(lambda connection: requests.put_answer(connection, old)))
    asyncio.run(store.write(lambda connection: requests.put_answer(connection, new)))

    found = [store.read_now(partial(requests.get_answer, request_id=name)) for name in ("r1", "r2")]
    store.close()

    assert found == [None, new]
