"""Stopping, starting, restarting, completing and deleting; queues and lists."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any, cast

import grpc
import msgspec
import pytest
from google.rpc import error_details_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.consumer import reason
from tests.integration.controller.test_apply import details
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from tests.servers import TestServer
from treadle.queues.admin import QueueAdmin
from treadle.queues.tenure import LoopKey
from treadle.v1 import agent_service_pb2, event_pb2, event_service_pb2, loop_pb2, queue_service_pb2
from treadle.v1 import dispatcher_service_pb2 as session_pb
from treadle.v1 import loop_service_pb2 as pb
from treadle.v1 import workflow_service_pb2 as workflows_pb

RUNNING = loop_pb2.LOOP_STATE_RUNNING
STOPPED = loop_pb2.LOOP_STATE_STOPPED
COMPLETED = loop_pb2.LOOP_STATE_COMPLETED
TARGET = pb.LoopTarget(workflow="orders")
FETCH = ("orders", "fetch", 0)


async def test_stopped_loops_give_their_slots_back_and_start_again_with_higher_epochs(
    controller: ControllerProcess,
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(document("orders", loop("fetch")))
        await client.until("orders", lambda one: one.state == RUNNING)
        epoch = agent.epoch(FETCH)

        await client.loops.StopLoops(pb.StopLoopsRequest(target=TARGET))
        await client.until("orders", lambda one: one.state == STOPPED)
        used = (await client.agents.GetAgent(agent_service_pb2.GetAgentRequest(name="one"))).agent.used.thread
        await client.loops.StartLoops(pb.StartLoopsRequest(target=TARGET))
        await client.until("orders", lambda one: one.state == RUNNING)

        assert used == 0
        assert agent.epoch(FETCH) > epoch


async def test_a_paused_loop_keeps_its_slot_and_epoch(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(document("orders", loop("fetch")))
        await client.until("orders", lambda one: one.state == RUNNING)
        epoch = agent.epoch(FETCH)

        await client.loops.PauseLoops(pb.PauseLoopsRequest(target=TARGET))
        paused = await client.until("orders", lambda one: one.state == loop_pb2.LOOP_STATE_PAUSED)
        await client.loops.ResumeLoops(pb.ResumeLoopsRequest(target=TARGET))
        await client.until("orders", lambda one: one.state == RUNNING)

        assert paused.loops[0].phase == loop_pb2.LOOP_PHASE_STOPPED
        assert agent.epoch(FETCH) == epoch


async def test_a_tail_runs_beside_its_loop_and_is_let_go_after_it(
    controller: ControllerProcess, valkey: TestServer
) -> None:
    tail = ("orders", "fetch~fetch-work", 0)
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "one") as one,
        ScriptedAgent(controller.address, "two") as two,
        QueueAdmin(valkey.url, "default") as admin,
    ):
        await client.apply(document("orders", loop("fetch", tail=True)))
        await client.until("orders", lambda it: it.state == RUNNING)
        agent = one if FETCH in one.assigned else two
        assert set(agent.assigned) == {FETCH, tail}
        await admin.push("orders~fetch~fetch-work", [msgspec.msgpack.encode([{}, None])])

        await client.loops.StopLoops(pb.StopLoopsRequest(target=TARGET))
        await agent.until(lambda: FETCH not in agent.running)
        waiting = await client.until("orders", lambda it: it.loops[1].reason.code == "tail-drains")
        assert waiting.loops[1].state == RUNNING
        await admin.purge("orders~fetch~fetch-work")

        await agent.until(lambda: tail not in agent.running)
        await client.until("orders", lambda it: it.state == STOPPED)


async def test_completed_loops_stay_so_until_somebody_restarts_them(controller: ControllerProcess) -> None:
    flow = document("orders", loop("fetch"))
    async with ScriptedAgent(controller.address, "one") as agent:
        async with Client(controller.address) as client:
            await client.apply(flow)
            await client.until("orders", lambda one: one.state == RUNNING)
            agent.report(FETCH, COMPLETED, committed=42, errors=1)
            done = await client.until("orders", lambda one: one.state == COMPLETED)
            assert (done.loops[0].committed, done.loops[0].errors) == (42, 1)
            await client.apply(flow)

        controller.kill()
        await agent.disconnect()
        controller.start()
        await agent.connect()

        async with Client(controller.address) as client:
            after = await client.workflow("orders")
            assert (after.state, after.loops[0].committed) == (COMPLETED, 42)
            await client.loops.RestartLoops(pb.RestartLoopsRequest(target=TARGET))
            await client.until("orders", lambda one: one.state == RUNNING)
    assert len(agent.started) == 2


async def test_a_restart_tells_the_agent_and_a_fresh_one_forgets_state_first(
    controller: ControllerProcess, valkey: TestServer
) -> None:
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "one") as agent,
        QueueAdmin(valkey.url, "default") as admin,
    ):
        await client.apply(document("orders", loop("fetch")))
        await client.until("orders", lambda one: one.state == RUNNING)
        epoch = agent.epoch(FETCH)
        life = await admin.command("HGET", admin.keys.loop(LoopKey(*FETCH)), "life")

        await client.loops.RestartLoops(pb.RestartLoopsRequest(target=TARGET))
        await agent.until(lambda: agent.assigned[FETCH].restart_generation == 1)
        assert agent.epoch(FETCH) == epoch
        await client.loops.RestartLoops(pb.RestartLoopsRequest(target=TARGET, fresh=True))
        await agent.until(lambda: agent.epoch(FETCH) > epoch)

        assert await admin.command("HGET", admin.keys.loop(LoopKey(*FETCH)), "life") != life


async def test_a_deleted_workflow_is_drained_and_its_queues_go_if_asked(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(document("orders", loop("fetch", pushes="raw"), reader("price", "raw")))
        await client.until("orders", lambda one: one.state == RUNNING)

        await client.workflows.DeleteWorkflow(workflows_pb.DeleteWorkflowRequest(name="orders", with_queues=True))

        assert agent.running == {}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.workflow("orders")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        (info,) = details(refused.value, error_details_pb2.ErrorInfo)
        assert (info.reason, info.metadata["name"]) == ("workflow-not-found", "orders")
        assert not (await client.queues.ListQueues(queue_service_pb2.ListQueuesRequest())).queues
        again = await client.apply(document("orders", loop("fetch")))
        assert again.workflow.revision == 1
        await client.until("orders", lambda one: one.state == RUNNING)


async def test_a_loop_that_fits_nowhere_says_why_until_an_agent_comes(controller: ControllerProcess) -> None:
    flow = document("orders", loop("fetch", placement={"labels": {"zone": "north"}}))
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(flow)
        pending = await client.until("orders", lambda one: one.state == loop_pb2.LOOP_STATE_PENDING)
        request = pb.ExplainLoopRequest(workflow="orders", loop="fetch")
        why = await client.loops.ExplainLoop(request)

        async with ScriptedAgent(controller.address, "two", labels={"zone": "north"}) as two:
            await two.until(lambda: FETCH in two.running)
        assert pending.reason.code == "no-matching-labels"
        assert "zone=north" in why.sentence


async def test_replicas_are_spread_and_a_cordoned_agent_gets_nothing(controller: ControllerProcess) -> None:
    flow = document("orders", loop("fetch", pushes="raw"), reader("price", "raw", replicas=3))
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "one") as one,
        ScriptedAgent(controller.address, "two") as two,
        ScriptedAgent(controller.address, "three") as three,
    ):
        await client.agents.CordonAgent(agent_service_pb2.CordonAgentRequest(name="three"))
        await client.apply(flow)
        await client.until("orders", lambda it: it.state == RUNNING)

        counts = sorted(sum(key[1] == "price" for key in agent.assigned) for agent in (one, two))
        assert counts == [1, 2]
        assert three.assigned == {}


async def test_messages_are_pushed_once_peeked_at_purged_and_counted(controller: ControllerProcess) -> None:
    pack = msgspec.msgpack.encode
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(document("orders", reader("price", "raw", external=True)))
        push = queue_service_pb2.PushQueueRequest(
            name="raw", payloads=[pack({"n": 1}), pack({"n": 2})], producer="erp", sequence=1
        )

        first = await client.queues.PushQueue(push)
        second = await client.queues.PushQueue(push)
        peeked = await client.queues.PeekQueue(queue_service_pb2.PeekQueueRequest(name="raw", limit=5))
        queue = (await client.queues.GetQueue(queue_service_pb2.GetQueueRequest(name="raw"))).queue
        purged = await client.queues.PurgeQueue(queue_service_pb2.PurgeQueueRequest(name="raw"))

        assert (first.first, first.duplicate, second.duplicate) == (1, False, True)
        assert [msgspec.msgpack.decode(message.payload) for message in peeked.messages] == [{"n": 1}, {"n": 2}]
        assert peeked.messages[0].id == "default/raw/1"
        assert (queue.depth, queue.external, list(queue.readers)) == (2, True, ["orders/price"])
        assert purged.dropped == 2
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.queues.PushQueue(queue_service_pb2.PushQueueRequest(name="raw", payloads=[b"\xc1"]))
        (info, bad) = details(refused.value, error_details_pb2.ErrorInfo, error_details_pb2.BadRequest)
        assert (info.reason, bad.field_violations[0].field) == ("bad-data", "payloads[0]")
        with pytest.raises(grpc.aio.AioRpcError) as kept:
            await client.queues.DeleteQueue(queue_service_pb2.DeleteQueueRequest(name="raw"))
        (info,) = details(kept.value, error_details_pb2.ErrorInfo)
        assert info.reason == "queue-in-use"


async def test_a_loop_whose_queue_is_full_says_that_it_waits_for_room(controller: ControllerProcess) -> None:
    fetch = loop("fetch", pushes="raw")
    fetch["nodes"][-1]["data"]["limits"] = {"messages": 1}
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(document("orders", fetch, reader("price", "raw")))
        await client.until("orders", lambda one: one.state == RUNNING)
        payloads = [msgspec.msgpack.encode({"n": 1})]
        await client.queues.PushQueue(queue_service_pb2.PushQueueRequest(name="raw", payloads=payloads))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.queues.PushQueue(queue_service_pb2.PushQueueRequest(name="raw", payloads=payloads))

        fetching = await client.loops.ExplainLoop(pb.ExplainLoopRequest(workflow="orders", loop="fetch"))
        pricing = await client.loops.ExplainLoop(pb.ExplainLoopRequest(workflow="orders", loop="price"))

    assert reason(refused.value) == ("RESOURCE_EXHAUSTED", "queue-full")
    assert (fetching.reason.code, pricing.reason.code) == ("queue-full", "lagging")


async def test_lists_come_in_pages_and_tokens_belong_to_their_question(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        for name in ("c", "a", "b"):
            await client.apply(document(name, loop("x"), loop("y")))
        list_workflows = client.workflows.ListWorkflows

        first = await list_workflows(workflows_pb.ListWorkflowsRequest(page_size=2))
        rest = await list_workflows(workflows_pb.ListWorkflowsRequest(page_size=2, page_token=first.next_page_token))
        loops = await client.loops.ListLoops(pb.ListLoopsRequest(page_size=4))

        assert [one.name for one in (*first.workflows, *rest.workflows)] == ["a", "b", "c"]
        assert rest.next_page_token == ""
        assert [f"{one.workflow}/{one.name}" for one in loops.loops] == ["a/x", "a/y", "b/x", "b/y"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.loops.ListLoops(pb.ListLoopsRequest(page_token=first.next_page_token))
        (bad,) = details(refused.value, error_details_pb2.BadRequest)
        assert bad.field_violations[0].field == "page_token"


async def test_log_lines_reach_who_reads_them(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(document("orders", loop("fetch")))
        await client.until("orders", lambda one: one.state == RUNNING)
        call = client.events.StreamLogs(event_service_pb2.StreamLogsRequest(workflow="orders", loop="fetch"))
        past = await asyncio.wait_for(call.read(), 10)
        reading = asyncio.ensure_future(call.read())
        subscribed = "log_subscription"
        await agent.until(lambda: agent.received[-1].WhichOneof("message") == subscribed)
        lines = [event_pb2.LogLine(workflow="orders", loop="fetch", message="hello")]
        agent.say(session_pb.SessionRequest(logs=session_pb.LogBatch(lines=lines)))

        response = await asyncio.wait_for(reading, 10)
        call.cancel()

        assert (list(past.lines), past.caught_up) == ([], True)
        assert [line.message for line in response.lines] == ["hello"]
        await agent.until(lambda: not agent.received[-1].log_subscription.loops)


async def test_events_tell_what_happened_and_who_did_it(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(document("orders", loop("fetch")))
        await client.until("orders", lambda one: one.state == RUNNING)

        call = client.events.StreamEvents(event_service_pb2.StreamEventsRequest(workflow="orders"))
        streamed = [(await call.read()).event for _ in range(3)]
        call.cancel()
        listed = await client.events.ListEvents(event_service_pb2.ListEventsRequest(workflow="orders"))

        assert [event.code for event in streamed] == ["workflow-applied", "loop-placed", "loop-running"]
        assert streamed[2].actor == "agent one"
        assert [event.sequence for event in listed.events[:2]] == [event.sequence for event in streamed[:2]]


async def test_health_reflection_and_metrics_answer(controller: ControllerProcess) -> None:
    async with ScriptedAgent(controller.address, "one"), Client(controller.address) as client:
        await client.apply(document("orders", loop("fetch", pushes="raw")))
        await client.until("orders", lambda one: one.state == RUNNING)
        async with aio.insecure_channel(controller.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
            healthy = await health.Check(health_pb2.HealthCheckRequest())
            call = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            services = [one.name async for answer in call for one in answer.list_services_response.service]
        pages = [await asyncio.to_thread(_get, f"http://{controller.http}/{page}") for page in ("healthz", "readyz")]
        metrics = await asyncio.to_thread(_get, f"http://{controller.http}/metrics")

    assert healthy.status == health_pb2.HealthCheckResponse.SERVING
    assert "treadle.v1.WorkflowService" in services
    assert all('"ok"' in page for page in pages)
    assert 'treadle_loop_state{namespace="default",workflow="orders",loop="fetch",state="RUNNING"} 1' in metrics
    assert 'treadle_queue_depth{namespace="default",queue="raw"} 0' in metrics


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        body: bytes = response.read()
    return body.decode()
