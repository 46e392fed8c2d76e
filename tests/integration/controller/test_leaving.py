"""Agents that give up what they hold: drained, stopped, without Redis; and newcomers that take some of it."""

from __future__ import annotations

import asyncio
import time

from google.protobuf.duration_pb2 import Duration

from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from treadle.v1 import agent_pb2, agent_service_pb2, event_service_pb2, loop_pb2
from treadle.v1 import dispatcher_service_pb2 as pb

RUNNING = loop_pb2.LOOP_STATE_RUNNING
ONE = document("orders", loop("fetch"))
FETCH = ("orders", "fetch", 0)
TAIL = "orders/fetch~fetch-work/0"


async def drain(client: Client, name: str, seconds: float) -> agent_pb2.Agent:
    limit = Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
    answer = await client.agents.DrainAgent(agent_service_pb2.DrainAgentRequest(name=name, deadline=limit))
    found: agent_pb2.Agent = answer.agent
    return found


async def test_a_drained_agent_hands_over_all_it_holds_and_gets_nothing_more(controller: ControllerProcess) -> None:
    many = document("many", *(loop(f"loop{number}") for number in range(30)))
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(many)
        await client.until("many", lambda it: it.state == RUNNING)
        async with ScriptedAgent(controller.address, "two") as two:
            await drain(client, "one", 30)
            await two.until(lambda: len(two.running) == 30)
            await client.apply(ONE)

            await two.until(lambda: FETCH in two.running)
            assert one.running == {}
            await asyncio.wait_for(_until_event(client, "one", "agent-drained"), 10)


async def test_a_drain_waits_for_a_place_and_takes_its_loops_off_by_force_at_the_deadline(
    controller: ControllerProcess,
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)

        begun = time.monotonic()
        await drain(client, "one", 1.5)
        seen = await client.until("orders", lambda it: it.state == loop_pb2.LOOP_STATE_PENDING)

        assert time.monotonic() - begun > 1.4
        assert seen.reason.code == "no-agent-ready"
        await one.until(lambda: one.running == {})
        await asyncio.wait_for(_until_event(client, "one", "agent-drain-forced"), 10)


async def test_a_loop_that_does_not_stop_is_forced_off_a_drained_agent(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)
        async with ScriptedAgent(controller.address, "two") as two:
            one.releases = False
            before = one.epoch(FETCH)

            await drain(client, "one", 1)

            await two.until(lambda: FETCH in two.running)
            assert two.epoch(FETCH) > before


async def test_a_drain_goes_on_after_the_controller_was_killed(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)
        await drain(client, "one", 60)
    controller.kill()
    controller.start()
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "two") as two,
    ):
        await one.connect()
        await two.until(lambda: FETCH in two.running, timeout_s=20)
        await one.disconnect()


async def test_a_tail_works_its_queue_off_before_both_move(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(document("orders", loop("fetch", tail=True)))
        await client.until("orders", lambda it: it.state == RUNNING)
        async with ScriptedAgent(controller.address, "two") as two:
            await drain(client, "one", 30)
            await two.until(lambda: len(two.running) == 2)
            await one.until(lambda: one.running == {})
            gone, come = await order_of_events(client, (TAIL, "stopped on one"), ("orders/fetch/0", "placed on two"))
        assert gone < come


async def order_of_events(client: Client, *wanted: tuple[str, str]) -> list[int]:
    """Return the sequence numbers of the first events about an object whose text begins so; waits for all of them."""
    found: dict[tuple[str, str], int] = {}
    call = client.events.StreamEvents(event_service_pb2.StreamEventsRequest(workflow="orders"))
    async with asyncio.timeout(10):
        while len(found) < len(wanted):
            event = (await call.read()).event
            for name, text in wanted:
                if event.name == name and event.message.startswith(text):
                    found.setdefault((name, text), event.sequence)
    call.cancel()
    return [found[one] for one in wanted]


async def test_an_agent_that_is_stopped_says_by_when(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)
        one.releases = False
        async with ScriptedAgent(controller.address, "two") as two:
            farewell = pb.Farewell()
            farewell.deadline.FromSeconds(1)
            one.say(pb.SessionRequest(farewell=farewell))

            await two.until(lambda: FETCH in two.running, timeout_s=5)


async def test_an_agent_whose_redis_is_silent_for_ten_seconds_loses_its_loops_to_others(
    controller: ControllerProcess,
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)
        one.redis_silence_s = 11.0  # nobody else is there: it keeps them
        await asyncio.wait_for(_until_event(client, "one", "agent-starved"), 10)
        assert FETCH in one.running
        async with ScriptedAgent(controller.address, "two") as two:
            await two.until(lambda: FETCH in two.running)
            await one.until(lambda: one.running == {})

            one.redis_silence_s = None
            await asyncio.wait_for(_until_event(client, "one", "agent-redis-back"), 10)
            assert FETCH in two.running


async def test_replicas_that_share_a_host_spread_to_one_that_joins_and_nothing_else_moves(
    controller: ControllerProcess,
) -> None:
    wanted = document("orders", loop("fetch", pushes="raw"), reader("price", "raw", replicas=2))
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(wanted)
        await client.until("orders", lambda it: it.state == RUNNING)
        before = {key: one.epoch(key) for key in one.assigned}
        async with ScriptedAgent(controller.address, "two") as two:
            await two.until(lambda: len(two.running) == 1, timeout_s=20)

            assert list(two.running) == [("orders", "price", 1)]
            assert {key: one.epoch(key) for key in one.assigned} == {
                key: epoch for key, epoch in before.items() if key != ("orders", "price", 1)
            }


async def _until_event(client: Client, name: str, code: str) -> None:
    async for response in client.events.StreamEvents(event_service_pb2.StreamEventsRequest()):
        if (response.event.name, response.event.code) == (name, code):
            return
