"""What happens when controllers, agents and Redis die, freeze and come back."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from pathlib import Path

import redis

from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from tests.queue_world import eventually
from tests.servers import TestServer, redis_server
from treadle.v1 import agent_pb2, agent_service_pb2, event_service_pb2, loop_pb2
from treadle.v1 import dispatcher_service_pb2 as pb

RUNNING = loop_pb2.LOOP_STATE_RUNNING
ONE = document("orders", loop("fetch"))
FETCH = ("orders", "fetch", 0)


async def test_a_killed_controller_adopts_what_runs_at_the_same_epochs(controller: ControllerProcess) -> None:
    async with ScriptedAgent(controller.address, "one") as agent:
        async with Client(controller.address) as client:
            await client.apply(document("orders", loop("fetch", pushes="raw"), reader("price", "raw")))
            await client.until("orders", lambda one: one.state == RUNNING)
        epochs, starts = {key: agent.epoch(key) for key in agent.assigned}, list(agent.started)

        controller.kill()
        await agent.disconnect()
        controller.start()
        await agent.connect()

        async with Client(controller.address) as client:
            await client.until("orders", lambda one: one.state == RUNNING)
        assert {key: agent.epoch(key) for key in agent.assigned} == epochs
        assert agent.started == starts


async def test_an_agent_killed_with_its_controller_gets_its_loops_at_the_same_epochs(
    controller: ControllerProcess,
) -> None:
    async with ScriptedAgent(controller.address, "one") as agent:
        async with Client(controller.address) as client:
            await client.apply(ONE)
            await client.until("orders", lambda one: one.state == RUNNING)
        epoch = agent.epoch(FETCH)

        controller.kill()
        controller.start()
        await agent.restart()

        await agent.until(lambda: FETCH in agent.running)
        assert agent.epoch(FETCH) == epoch


async def test_an_agent_that_restarts_within_the_hold_gets_the_same_epochs(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(ONE)
        await client.until("orders", lambda one: one.state == RUNNING)
        epoch = agent.epoch(FETCH)

        await agent.restart()

        await agent.until(lambda: FETCH in agent.running)
        assert agent.epoch(FETCH) == epoch
        assert agent.received[-1].WhichOneof("message")


async def test_the_loops_of_a_lost_agent_are_placed_elsewhere_with_higher_epochs(
    controller: ControllerProcess,
) -> None:
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "one") as one,
        ScriptedAgent(controller.address, "two") as two,
    ):
        await client.apply(document("orders", loop("a"), loop("b")))
        await client.until("orders", lambda it: it.state == RUNNING)
        assert (len(one.assigned), len(two.assigned)) == (1, 1)
        (key,) = one.assigned
        epoch = one.epoch(key)

        await one.disconnect()

        await two.until(lambda: key in two.running, timeout_s=20)
        assert two.epoch(key) > epoch
        state = (await client.agents.GetAgent(agent_service_pb2.GetAgentRequest(name="one"))).agent.state
        assert state == agent_pb2.AGENT_STATE_LOST


async def test_an_agent_that_falls_silent_is_lost_when_its_lease_ends(controller: ControllerProcess) -> None:
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "one") as one,
    ):
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)
        one.stop_heartbeats()
        async with ScriptedAgent(controller.address, "two") as two:
            await two.until(lambda: FETCH in two.running, timeout_s=20)

            await one.until(lambda: one.goodbye is not None)
            assert one.goodbye is not None
            assert one.goodbye.code == "lease-ended"
            assert two.epoch(FETCH) > one.started[0][1]


async def test_what_an_agent_runs_without_being_assigned_is_drained(controller: ControllerProcess) -> None:
    agent = ScriptedAgent(controller.address, "one")
    ref = loop_pb2.LoopRef(namespace="default", workflow="gone", loop="a")
    agent.running["gone", "a", 0] = loop_pb2.LoopStatus(loop=ref, epoch=7, state=RUNNING)
    async with agent:
        assert agent.running == {}


async def test_the_newest_session_of_a_name_wins(controller: ControllerProcess) -> None:
    async with ScriptedAgent(controller.address, "one") as older, ScriptedAgent(controller.address, "one") as newer:
        await older.until(lambda: older.goodbye is not None)

        assert older.goodbye is not None
        assert older.goodbye.code == "session-replaced"
        assert newer.goodbye is None


async def test_an_agent_that_is_stopped_hands_its_loops_over(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)
        async with ScriptedAgent(controller.address, "two") as two:
            one.say(pb.SessionRequest(farewell=pb.Farewell()))

            await two.until(lambda: FETCH in two.running)
            assert one.running == {}


def test_a_second_controller_on_the_store_refuses_to_start(controller: ControllerProcess) -> None:
    second = [*controller.command(), "--listen", "127.0.0.1:0"]
    ended = subprocess.run(
        second, env=controller.environment(), capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 1
    assert "another controller" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_redis_that_evicts_is_refused_with_one_sentence(tmp_path: Path) -> None:
    with redis_server() as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        process = ControllerProcess(tmp_path, server.url)
        ended = subprocess.run(
            process.command(), env=process.environment(), capture_output=True, text=True, timeout=30, check=False
        )

    assert ended.returncode == 1
    assert "maxmemory-policy is allkeys-lru" in ended.stderr
    assert server.password not in ended.stderr


async def test_without_redis_the_controller_says_so_and_goes_on(tmp_path: Path) -> None:
    with redis_server() as server:
        server.kill()
        process = ControllerProcess(tmp_path, server.url)
        process.start()
        try:
            async with Client(process.address) as client, ScriptedAgent(process.address, "one") as agent:
                await client.apply(ONE)
                await _event(client, "redis-unreachable")
                assert agent.assigned == {}

                server.start()

                await agent.until(lambda: FETCH in agent.running, timeout_s=20)
        finally:
            assert process.stop() == 0
        assert server.password not in process.log()


async def test_a_redis_with_an_older_snapshot_is_told_of_and_gets_new_epochs(tmp_path: Path) -> None:
    with redis_server(aof="always", folder=tmp_path / "redis") as server:
        process = ControllerProcess(tmp_path, server.url)
        process.start()
        try:
            async with Client(process.address) as client, ScriptedAgent(process.address, "one") as agent:
                await client.apply(document("orders", loop("fetch", pushes="raw"), reader("price", "raw")))
                await client.until("orders", lambda one: one.state == RUNNING)
                before = {key: agent.epoch(key) for key in agent.running}
                kept, beat = server.keep(), _beat(server)
                await asyncio.to_thread(eventually, lambda: _beat(server) > beat)

                server.kill()
                server.put_back(kept)
                server.start()

                assert "earlier moment" in await _event(client, "redis-rolled-back")
                await agent.until(lambda: all(agent.epoch(key) > epoch for key, epoch in before.items()), timeout_s=20)
                assert set(before) == set(agent.running)
                assert agent.goodbye is None  # the namespace is the same
        finally:
            assert process.stop() == 0


def test_the_last_beat_is_on_disk_within_a_few(tmp_path: Path) -> None:
    """A controller that dies together with Redis knows how far Redis has been."""
    with redis_server() as server:
        process = ControllerProcess(tmp_path, server.url)
        process.start()
        try:
            began, seen = _beat(server), {_recorded(tmp_path)}

            def twice() -> bool:
                seen.add(_recorded(tmp_path))
                return len(seen) == 3

            eventually(twice)
            assert _beat(server) - began < 15  # seconds, as the controller counts them
        finally:
            assert process.stop() == 0


def _recorded(folder: Path) -> int:
    with sqlite3.connect(folder / "controller.db") as store:
        found = store.execute("SELECT value FROM counters WHERE name = 'beat'").fetchone()
    store.close()
    return int(found[0]) if found else 0


def _beat(server: TestServer) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.hget("{default}:meta", "beat") or 0)


async def test_a_redis_that_lost_everything_gets_new_epochs(tmp_path: Path) -> None:
    with redis_server() as server:
        process = ControllerProcess(tmp_path, server.url)
        process.start()
        try:
            async with Client(process.address) as client, ScriptedAgent(process.address, "one") as agent:
                await client.apply(ONE)
                await client.until("orders", lambda one: one.state == RUNNING)
                before = agent.epoch(FETCH)

                server.kill()
                server.start()

                await _event(client, "redis-rolled-back")
                await agent.until(lambda: agent.goodbye is not None, timeout_s=20)
                assert agent.goodbye is not None
                assert (agent.goodbye.code, agent.welcome and agent.welcome.redis_id != "") == ("redis-renewed", True)
                await agent.connect()
                await agent.until(lambda: agent.epoch(FETCH) > before, timeout_s=20)
        finally:
            assert process.stop() == 0


async def test_sigterm_ends_the_controller_cleanly_with_agents_connected(
    controller: ControllerProcess, valkey: TestServer
) -> None:
    async with ScriptedAgent(controller.address, "one"):
        assert controller.stop() == 0
    assert valkey.password not in controller.log()


async def _event(client: Client, code: str) -> str:
    """Wait for an event; return what it says."""
    call = client.events.StreamEvents(event_service_pb2.StreamEventsRequest())
    async for response in call:
        if response.event.code == code:
            call.cancel()
            return str(response.event.message)
    raise AssertionError(code)
