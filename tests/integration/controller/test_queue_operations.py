"""What the controller does about queues: slots, limits, dead letters, functions, a server that goes back."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
import redis
from grpc import aio

from tests.integration.controller.agent_client import Key, ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from tests.queue_world import eventually
from tests.servers import TestServer, redis_server
from treadle.queues import library
from treadle.queues.codec import encode_item
from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import event_service_pb2, loop_pb2, loop_service_pb2, node_type_pb2, queue_service_pb2, workflow_pb2

RUNNING, COMPLETED = loop_pb2.LOOP_STATE_RUNNING, loop_pb2.LOOP_STATE_COMPLETED
FLOW = document("orders", loop("fetch", pushes="raw"), reader("price", "raw"))


def price(replica: int) -> Key:
    return ("orders", "price", replica)


@pytest.fixture
def queues(valkey: TestServer) -> Iterator[redis.Redis]:
    """Return a client of the server that holds the queues."""
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        yield client


async def scale(client: Client, name: str, replicas: int, **more: Any) -> loop_service_pb2.ScaleLoopResponse:
    request = loop_service_pb2.ScaleLoopRequest(workflow="orders", loop=name, replicas=replicas, **more)
    response: loop_service_pb2.ScaleLoopResponse = await client.loops.ScaleLoop(request)
    return response


async def event(client: Client, code: str, words: str = "") -> str:
    """Wait for an event that says certain words; returns its message."""
    call = client.events.StreamEvents(event_service_pb2.StreamEventsRequest())
    async with asyncio.timeout(15):
        async for response in call:
            if response.event.code == code and words in response.event.message:
                call.cancel()
                message: str = response.event.message
                return message
    raise AssertionError(code)


def slots(queues: redis.Redis) -> tuple[str, str]:
    """Return the reader slots of a queue, and its mode."""
    return field(queues, "{default}:q:raw:m", "who"), field(queues, "{default}:q:raw:m", "mode")


def field(queues: redis.Redis, key: str, name: str) -> str:
    """Return a field of a hash, "" when it is not there."""
    return str(queues.hget(key, name) or "")


async def test_scaling_gives_all_slots_new_epochs_and_removed_ones_are_drained_first(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "one") as one,
        ScriptedAgent(controller.address, "two") as two,
    ):
        await client.apply(FLOW)
        await client.until("orders", lambda it: it.state == RUNNING)
        home = one if price(0) in one.assigned else two
        before = home.epoch(price(0))
        assert slots(queues) == ("", "")

        await scale(client, "price", 3)
        await client.until("orders", lambda it: len(it.loops[1].instances) == 3 and _settled(it))

        assert slots(queues) == ("orders/price/0 orders/price/1 orders/price/2", "counted")
        assert home.epoch(price(0)) > before
        assert {agent for agent in (one, two) if any(key[1] == "price" for key in agent.assigned)} == {one, two}
        stored = [int(field(queues, f"{{default}}:l:orders/price/{n}", "epoch")) for n in range(3)]
        assert stored == [max(one.epoch(price(n)), two.epoch(price(n))) for n in range(3)]
        before = home.epoch(price(0))

        await scale(client, "price", 1)
        await home.until(lambda: home.epoch(price(0)) > before)
        await client.until("orders", lambda it: len(it.loops[1].instances) == 1 and _settled(it))

        assert slots(queues) == ("orders/price/0", "")
        assert not any(price(n) in agent.assigned for agent in (one, two) for n in (1, 2))


def _settled(workflow: workflow_pb2.Workflow) -> bool:
    return workflow.state == RUNNING and all(
        one.epoch == one.status.epoch for loop in workflow.loops for one in loop.instances
    )


async def test_replicas_of_a_document_get_slots_before_they_run_and_survive_a_controller(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    async with ScriptedAgent(controller.address, "one") as agent:
        async with Client(controller.address) as client:
            flow = document("orders", loop("fetch", pushes="raw"), reader("price", "raw", replicas=2))
            await client.apply(flow)
            await client.until("orders", _settled)
            assert slots(queues) == ("orders/price/0 orders/price/1", "counted")
            await scale(client, "price", 3)
            await client.until("orders", lambda it: len(it.loops[1].instances) == 3 and _settled(it))
        epochs = {key: agent.epoch(key) for key in agent.assigned}

        controller.kill()
        await agent.disconnect()
        controller.start()
        await agent.connect()

        async with Client(controller.address) as client:
            await client.until("orders", lambda it: len(it.loops[1].instances) == 3 and _settled(it))
        assert {key: agent.epoch(key) for key in agent.assigned} == epochs


async def test_two_loops_that_read_one_queue_are_its_slots_and_one_that_is_stopped_is_none(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(document("orders", loop("fetch", pushes="raw"), reader("a", "raw"), reader("b", "raw")))
        await client.until("orders", _settled)
        assert slots(queues) == ("orders/a/0 orders/b/0", "counted")

        target = loop_service_pb2.LoopTarget(workflow="orders", loop="a")
        await client.loops.StopLoops(loop_service_pb2.StopLoopsRequest(target=target))

        await event(client, "queue-scaled", "1 reader slot")
        assert slots(queues) == ("orders/b/0", "")


async def test_a_loop_that_replicas_would_break_is_refused_with_the_reason(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        keeper = node_type_pb2.NodeType(
            uses="test.keeper", role=node_type_pb2.NODE_ROLE_NODE, schema_json='{"type": "object"}', stateful=True
        )
        await agent.disconnect()
        agent.node_types = (*agent.node_types, keeper)
        await agent.connect()
        keeping = reader("keep", "kept")
        keeping["nodes"][1]["data"]["uses"] = "test.keeper"
        await client.apply(document("orders", loop("fetch", pushes="kept"), keeping))
        for name, because in (("fetch", "no queue-reader"), ("keep", "keeps state")):
            with pytest.raises(aio.AioRpcError, match=because) as refused:
                await scale(client, name, 2)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(aio.AioRpcError) as unknown:
            await scale(client, "none", 2)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(aio.AioRpcError) as bad:
            await scale(client, "keep", 0)
        assert bad.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_asking_whether_a_loop_may_be_scaled_changes_nothing(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(FLOW)

        asked = await scale(client, "price", 3, validate_only=True)

        assert asked.loops[0].replicas == 3
        assert (await client.workflow("orders")).loops[1].replicas == 1


async def test_new_limits_reach_redis_and_the_dictionary_though_no_loop_restarts(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(FLOW)
        await client.until("orders", _settled)
        starts = list(agent.started)
        changed = json.loads(json.dumps(FLOW))
        changed["nodes"][2]["data"]["limits"] = {"messages": 7}

        applied = await client.apply(changed)

        (queue,) = [one for one in applied.queue_changes if one.kind == workflow_pb2.CHANGE_KIND_CHANGED]
        assert (queue.queue, list(queue.differences)) == ("raw", ["limits.messages: 1000000 -> 7"])
        await _look(lambda: field(queues, "{default}:q:raw:m", "lim_n") == "7")
        await _look(lambda: '"messages":7' in field(queues, "{default}:queues", "raw"))
        assert agent.started == starts
        entry = json.loads(field(queues, "{default}:queues", "raw"))
        assert (entry["writers"], entry["readers"]) == (["orders/fetch"], ["orders/price"])


async def _look(true: Callable[[], object]) -> None:
    """Look at Redis until something is true."""
    await asyncio.to_thread(eventually, lambda: bool(true()))


async def test_flushed_functions_are_loaded_again_within_seconds(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(FLOW)
        await client.until("orders", _settled)
        starts = list(agent.started)

        queues.function_flush()

        await _look(queues.function_list)
        await event(client, "redis-functions-loaded")
        assert agent.started == starts


async def test_a_server_that_went_back_gets_new_epochs_and_completed_loops_run_again(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(FLOW)
        await client.until("orders", _settled)
        agent.report(("orders", "fetch", 0), COMPLETED)
        await client.until("orders", lambda it: it.loops[0].state == COMPLETED)
        before = agent.epoch(price(0))

        queues.hset("{default}:meta", "beat", -10)

        assert "earlier moment" in await event(client, "redis-rolled-back")
        await agent.until(lambda: agent.epoch(price(0)) > before and ("orders", "fetch", 0) in agent.running)


async def test_one_loop_that_finds_writes_missing_gets_new_epochs_for_all(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(FLOW)
        await client.until("orders", _settled)
        keys = (("orders", "fetch", 0), price(0))
        before = {key: agent.epoch(key) for key in keys}

        agent.report(price(0), loop_pb2.LOOP_STATE_LOST, reason=loop_pb2.Reason(code="gap", message="it lost writes"))

        assert "orders/price/0" in await event(client, "redis-rolled-back")
        await agent.until(lambda: all(agent.epoch(key) > before[key] for key in keys))


async def test_what_removed_replicas_committed_stays_in_the_total(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(FLOW)
        await client.until("orders", _settled)
        await scale(client, "price", 2)
        await client.until("orders", lambda it: len(it.loops[1].instances) == 2 and _settled(it))
        for replica, done in ((0, 10), (1, 7)):
            agent.report(price(replica), RUNNING, committed=done)
        await client.until("orders", lambda it: it.loops[1].committed == 17)

        await scale(client, "price", 1)

        await client.until("orders", lambda it: len(it.loops[1].instances) == 1 and _settled(it))
        await agent.until(lambda: price(1) not in agent.assigned)
        await client.until("orders", lambda it: it.loops[1].committed == 17)
        controller.kill()
        controller.start()
    async with Client(controller.address) as client:
        await client.until("orders", lambda it: it.loops[1].committed >= 7)


async def test_a_server_that_went_back_while_no_controller_ran_is_found_out(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    controller.kill()
    queues.hset("{default}:meta", "beat", -10)

    controller.start()

    async with Client(controller.address) as client:
        assert "earlier moment" in await event(client, "redis-rolled-back")


def test_a_controller_older_than_the_functions_refuses_to_start_with_one_sentence(tmp_path: Path) -> None:
    with redis_server() as server:
        newer = re.sub(r"^local (VERSION|SERVES) = \d+$", r"local \1 = 99", library.source(), flags=re.MULTILINE)
        with redis.Redis.from_url(server.url) as client:
            client.function_load(newer)
            process = ControllerProcess(tmp_path, server.url)
            ended = subprocess.run(
                process.command(), env=process.environment(), capture_output=True, text=True, timeout=30, check=False
            )
            found = client.function_list(withcode=True)

    assert ended.returncode == 1
    assert "version 99 of treadle's functions" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "local VERSION = 99" in str(found)


async def test_dead_letters_are_listed_shown_replayed_once_and_dropped(
    controller: ControllerProcess, queues: redis.Redis
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(FLOW)
        _bury(queues, [("i1", 1), ("i1", 2), ("i2", 3), ("i3", 4)])

        first = await client.queues.ListDeadLetters(queue_service_pb2.ListDeadLettersRequest(queue="raw", page_size=3))
        rest = await client.queues.ListDeadLetters(
            queue_service_pb2.ListDeadLettersRequest(queue="raw", page_size=3, page_token=first.next_page_token)
        )
        letters = [*first.dead_letters, *rest.dead_letters]
        assert ([one.number for one in letters], rest.next_page_token) == ([1, 2, 3, 4], "")
        got = await client.queues.GetDeadLetter(queue_service_pb2.GetDeadLetterRequest(queue="raw", id="i2"))
        shown = got.dead_letter
        assert (msgspec.msgpack.decode(shown.payload), shown.message_id) == ({"n": 3}, "default/raw/3")
        assert (shown.reason.node, shown.error, shown.attempts) == ("price-work", "ValueError", 3)

        replay = queue_service_pb2.ReplayDeadLettersRequest(queue="raw", id=letters[1].id, request_id="once")
        for _ in range(2):
            assert (await client.queues.ReplayDeadLetters(replay)).replayed == 2
        assert field(queues, "{default}:q:raw:m", "tail") == "3"
        drop = queue_service_pb2.DropDeadLettersRequest(queue="raw", all=True)
        assert (await client.queues.DropDeadLetters(drop)).dropped == 2
        assert "2 dead letters" in await event(client, "dead-letters-replayed")
        with pytest.raises(aio.AioRpcError) as gone:
            await client.queues.GetDeadLetter(queue_service_pb2.GetDeadLetterRequest(queue="raw", id="i2"))
        assert gone.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(aio.AioRpcError) as neither:
            await client.queues.ReplayDeadLetters(queue_service_pb2.ReplayDeadLettersRequest(queue="raw"))
        assert neither.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def _bury(queues: redis.Redis, letters: list[tuple[str, int]]) -> None:
    reason = json.dumps({"type": "ValueError", "message": "no", "node": "price-work", "attempts": 3})
    with queues.pipeline() as pipe:
        for kin, n in letters:
            fields: dict[Any, Any] = {"n": n, "i": encode_item({"n": n}), "r": reason, "k": kin}
            pipe.xadd("{default}:q:raw:dlq", fields)
        pipe.hset("{default}:q:raw:m", "dead", len(letters))
        pipe.execute()


async def test_the_server_of_the_queues_is_described_with_its_warnings(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client:
        server = (await client.queues.GetQueueServer(queue_service_pb2.GetQueueServerRequest())).server

        assert (server.reachable, server.name, server.persistence) == (True, "valkey", "off")
        assert "Persistence is off" in server.warnings[0]
        assert await event(client, "redis-warning") == server.warnings[0]


async def test_agents_hear_which_redis_namespace_is_meant(controller: ControllerProcess, queues: redis.Redis) -> None:
    async with ScriptedAgent(controller.address, "one") as agent:
        assert agent.welcome is not None
        assert agent.welcome.redis_id == field(queues, "{default}:meta", "id")
        queues.hset("{default}:meta", "id", "another")

        await agent.until(lambda: agent.goodbye is not None)
        await agent.connect()

        assert isinstance(agent.welcome, pb.Welcome)
        assert agent.welcome.redis_id == "another"
