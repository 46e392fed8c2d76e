"""The same store in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from tests.integration.controller.agent_client import Key, ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from tests.integration.nodes.conftest import postgresql
from tests.servers import TestServer
from treadle.v1 import event_service_pb2, loop_pb2, workflow_service_pb2
from treadle_controller.errors import Deposed, StoreInUse
from treadle_controller.store import Store, assignments
from treadle_controller.store.backup import backup, restore

__all__ = ["postgresql"]  # a fixture

RUNNING = loop_pb2.LOOP_STATE_RUNNING


@pytest.fixture
def elsewhere(tmp_path: Path, valkey: TestServer, request: pytest.FixtureRequest) -> Iterator[ControllerProcess]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    process = ControllerProcess(tmp_path, valkey.url)
    process.store = request.getfixturevalue("postgresql")
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.log(), process.log()


async def test_a_controller_on_postgresql_keeps_what_is_wanted_and_who_runs_it(elsewhere: ControllerProcess) -> None:
    flow = document("orders", loop("fetch", pushes="raw", tail=True), reader("price", "raw"))
    async with ScriptedAgent(elsewhere.address, "one") as agent:
        async with Client(elsewhere.address) as client:
            await client.apply(flow, request_id="r1")
            await client.until("orders", lambda one: one.state == RUNNING)
        epochs, starts = {key: agent.epoch(key) for key in agent.assigned}, list(agent.started)

        elsewhere.kill()
        await agent.disconnect()
        elsewhere.start()
        await agent.connect()

        async with Client(elsewhere.address) as client:
            again = await client.apply(flow, request_id="r1")
            events = await client.events.ListEvents(event_service_pb2.ListEventsRequest(workflow="orders"))
            await client.until("orders", lambda one: one.state == RUNNING)
    assert again.workflow.revision == 1
    assert events.events[0].code == "workflow-applied"
    assert {key: agent.epoch(key) for key in agent.assigned} == epochs
    assert agent.started == starts


async def test_a_second_controller_waits_and_takes_over_when_the_first_is_killed(
    elsewhere: ControllerProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    second = ControllerProcess(folder, elsewhere.redis_url)
    second.store = elsewhere.store
    flow = document("takeover", loop("fetch", pushes="raw"), reader("price", "raw"))
    try:
        async with ScriptedAgent(elsewhere.address, "one") as agent:
            async with Client(elsewhere.address) as client:
                await client.apply(flow)
                await client.until("takeover", lambda one: one.state == RUNNING)
            epochs, starts = _of_takeover(agent)
            second.launch()
            await asyncio.to_thread(second.await_log, "another controller leads")
            assert second.bound() is None

            elsewhere.kill()
            await agent.disconnect()
            await asyncio.to_thread(second.await_serving)
            agent.address = second.address
            await agent.connect()

            async with Client(second.address) as client:
                await client.until("takeover", lambda one: one.state == RUNNING)
        assert _of_takeover(agent) == (epochs, starts)
    finally:
        second.kill()


def _of_takeover(agent: ScriptedAgent) -> tuple[dict[Key, int], list[tuple[Key, int]]]:
    """Return the epochs and starts of one workflow: the store is shared with other tests."""
    keys = [key for key in agent.assigned if key[0] == "takeover"]
    return {key: agent.epoch(key) for key in keys}, [start for start in agent.started if start[0] in keys]


def test_a_controller_whose_lock_is_lost_leads_no_more(elsewhere: ControllerProcess, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    second = ControllerProcess(folder, elsewhere.redis_url)
    second.store = elsewhere.store
    second.launch()
    try:
        second.await_log("another controller leads")

        engine = sa.create_engine(elsewhere.store, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            connection.execute(sa.text(holder))

        assert elsewhere.wait() == 1
        assert "another may lead now" in elsewhere.log()
        second.await_serving()
    finally:
        second.kill()


async def test_whoever_was_deposed_writes_nothing_more(postgresql: str, elsewhere: ControllerProcess) -> None:
    store = Store(postgresql)
    store.open()
    try:
        term = await store.write(lambda connection: assignments.get_counter(connection, "term"))
        store.fence(term)
        await store.write(lambda connection: assignments.put_counter(connection, "x", 1))
        store.fence(term - 1)

        with pytest.raises(Deposed):
            await store.write(lambda connection: assignments.put_counter(connection, "x", 2))

        store.fence(term)
        assert await store.write(lambda connection: assignments.get_counter(connection, "x")) == 1
    finally:
        store.close()


async def test_a_backup_is_not_restored_under_a_controller_that_leads(
    elsewhere: ControllerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "backup.db"
    async with ScriptedAgent(elsewhere.address, "one"), Client(elsewhere.address) as client:
        await client.apply(document("kept", loop("fetch", pushes="raw"), reader("price", "raw")))
        await asyncio.to_thread(backup, elsewhere.store, file)
        await client.apply(document("made-since", loop("fetch", pushes="other"), reader("price", "other")))

    with pytest.raises(StoreInUse) as refused:
        restore(elsewhere.store, file, force=True)
    async with Client(elsewhere.address) as client:
        listed = await client.workflows.ListWorkflows(workflow_service_pb2.ListWorkflowsRequest())
    elsewhere.kill()
    await _once_free(partial(restore, elsewhere.store, file, force=True))
    elsewhere.start()

    async with Client(elsewhere.address) as client:
        restored = await client.workflows.ListWorkflows(workflow_service_pb2.ListWorkflowsRequest())
    assert "stop it first" in refused.value.message
    assert {"kept", "made-since"} <= {one.name for one in listed.workflows}
    names = {one.name for one in restored.workflows}
    assert "kept" in names
    assert "made-since" not in names


async def _once_free(restoring: Callable[[], int]) -> None:
    """Restore as soon as PostgreSQL has noticed that the controller was killed."""
    async with asyncio.timeout(30):
        while True:
            try:
                restoring()
            except StoreInUse:
                await asyncio.sleep(0.05)
                continue
            return
