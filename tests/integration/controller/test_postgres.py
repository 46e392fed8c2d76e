"""The same store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from tests.integration.nodes.conftest import postgresql
from tests.servers import TestServer
from treadle.v1 import event_service_pb2, loop_pb2

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
