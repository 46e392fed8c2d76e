"""Revisions that reach their loops, those that go back by themselves, and what each caller is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from tests.integration.controller.agent_client import NODE_TYPES, ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from treadle.v1 import loop_pb2, node_type_pb2, workflow_pb2
from treadle.v1 import workflow_service_pb2 as pb

R = workflow_pb2.RolloutState
HEALTHY = R.ROLLOUT_STATE_HEALTHY
FETCH = ("orders", "fetch", 0)


def orders(note: str, **top: Any) -> dict[str, Any]:
    return document("orders", loop("fetch", note=note, pushes="raw"), reader("price", "raw"), **top)


def is_healthy(number: int) -> Any:
    return lambda one: one.revision == number and one.rollout.state == HEALTHY


async def states(client: Client) -> dict[int, str]:
    answer = await client.workflows.ListRevisions(pb.ListRevisionsRequest(workflow="orders"))
    return {one.number: R.Name(one.state).removeprefix("ROLLOUT_STATE_") for one in answer.revisions}


async def test_a_bad_revision_goes_back_to_the_last_healthy_one_by_itself(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(orders("good"))
        await client.until("orders", is_healthy(1))
        agent.bad.add((2, "fetch"))

        await client.apply(orders("bad"))
        seen = await client.until("orders", is_healthy(3))

        assert seen.rollout.returned_from == 2
        assert seen.rollout.healthy_revision == 3
        assert await states(client) == {1: "HEALTHY", 2: "RETURNED", 3: "HEALTHY"}
        answer = await client.workflows.GetRevision(pb.GetRevisionRequest(workflow="orders", number=2))
        assert answer.revision.reason.code == "loop-failed"
        assert "it raises at once" in answer.revision.reason.message
        document = (await client.workflows.GetWorkflow(pb.GetWorkflowRequest(name="orders"))).workflow.document
        assert json.loads(document) == orders("good")
        assert json.loads(agent.assigned[FETCH].plan_json)["steps"][0]["params"] == {"note": "good"}


async def test_a_revision_without_progress_goes_back_at_its_deadline(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(orders("good"))
        await client.until("orders", is_healthy(1))
        agent.acknowledges = False

        await client.apply(orders("silent", rollout={"progress_deadline": "1s"}))
        await client.until("orders", lambda one: one.revision == 3)
        agent.acknowledges = True
        agent.report(FETCH, loop_pb2.LOOP_STATE_RUNNING)

        await client.until("orders", is_healthy(3))
        assert (await states(client))[2] == "RETURNED"


async def test_a_first_revision_that_fails_is_unhealthy_and_stays(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        agent.bad.add((1, "fetch"))
        await client.apply(orders("bad"))

        seen = await client.until("orders", lambda one: one.rollout.state == R.ROLLOUT_STATE_UNHEALTHY)

        assert "there is no healthy one before it" in seen.rollout.reason.message
        assert seen.revision == 1


async def test_a_revision_that_raised_a_state_version_stops_unhealthy_and_plan_says_so(
    controller: ControllerProcess,
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await agent.disconnect()
        kinds: dict[str, Any] = {
            "role": node_type_pb2.NODE_ROLE_PRODUCER,
            "schema_json": '{"type": "object"}',
            "stateful": True,
        }
        agent.node_types = [
            *NODE_TYPES,
            node_type_pb2.NodeType(uses="test.old", state_version=1, **kinds),
            node_type_pb2.NodeType(uses="test.new", state_version=2, **kinds),
        ]
        await agent.connect()
        await client.apply(document("orders", loop("fetch", uses="test.old")))
        await client.until("orders", is_healthy(1))
        agent.bad.add((2, "fetch"))
        newer = document("orders", loop("fetch", uses="test.new"))

        planned = await client.apply(newer, validate_only=True)
        await client.apply(newer)
        seen = await client.until("orders", lambda one: one.rollout.state == R.ROLLOUT_STATE_UNHEALTHY)

        warning = "node 'fetch' raises its state_version from 1 to 2, which can't go back by itself"
        assert warning in planned.changes[0].differences
        assert seen.revision == 2
        assert seen.rollout.reason.code == "cannot-go-back"


async def test_undo_applies_an_older_revision_again_as_a_new_one(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        for number, note in enumerate(("first", "second", "third"), start=1):
            await client.apply(orders(note))
            await client.until("orders", is_healthy(number))

        answer = await client.workflows.UndoRollout(pb.UndoRolloutRequest(workflow="orders"))
        assert answer.workflow.revision == 4
        await client.until("orders", is_healthy(4))
        await client.workflows.UndoRollout(pb.UndoRolloutRequest(workflow="orders", to_revision=1))
        seen = await client.until("orders", is_healthy(5))

        fourth = await client.workflows.GetRevision(pb.GetRevisionRequest(workflow="orders", number=4))
        assert json.loads(fourth.revision.document) == orders("second")
        document = (await client.workflows.GetWorkflow(pb.GetWorkflowRequest(name="orders"))).workflow.document
        assert json.loads(document) == orders("first")
        assert seen.rollout.returned_from == 0
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await client.workflows.UndoRollout(pb.UndoRolloutRequest(workflow="orders", to_revision=99))
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND


async def test_fifty_applies_at_once_end_in_one_of_them_whole_and_each_caller_is_told(
    controller: ControllerProcess,
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(orders("first"))
        await client.until("orders", is_healthy(1))

        async def attempt(number: int) -> pb.ApplyWorkflowResponse | grpc.StatusCode:
            try:
                return await client.apply(orders(f"number {number}"), if_revision=1)
            except grpc.aio.AioRpcError as exc:
                return exc.code()

        told = await asyncio.gather(*(attempt(number) for number in range(50)))
        won = [number for number, one in enumerate(told) if isinstance(one, pb.ApplyWorkflowResponse)]
        await client.until("orders", is_healthy(2))

        assert len(won) == 1
        assert {one for one in told if isinstance(one, grpc.StatusCode)} == {grpc.StatusCode.ABORTED}
        document = (await client.workflows.GetWorkflow(pb.GetWorkflowRequest(name="orders"))).workflow.document
        assert json.loads(document) == orders(f"number {won[0]}")
        assert json.loads(agent.assigned[FETCH].plan_json)["steps"][0]["params"] == {"note": f"number {won[0]}"}


async def test_fifty_applies_without_a_revision_are_all_stored_and_the_last_one_runs(
    controller: ControllerProcess,
) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        told = await asyncio.gather(*(client.apply(orders(f"number {number}")) for number in range(50)))
        revisions = {one.workflow.revision: number for number, one in enumerate(told)}
        last = max(revisions)
        seen = await client.until("orders", lambda one: one.rollout.state == HEALTHY)

        assert sorted(revisions) == list(range(1, 51))
        assert seen.revision == last == 50
        assert json.loads(agent.assigned[FETCH].plan_json)["steps"][0]["params"] == {"note": f"number {revisions[50]}"}


async def test_plan_says_where_apply_then_places_each_replica(controller: ControllerProcess) -> None:
    wanted = document(
        "orders",
        loop("fetch", pushes="raw", tail=True),
        reader("price", "raw", replicas=3),
        reader("other", "raw", placement={"labels": {"zone": "south"}}),
    )
    async with (
        Client(controller.address) as client,
        ScriptedAgent(controller.address, "one", slots=4),
        ScriptedAgent(controller.address, "two", slots=3, labels={"zone": "south"}),
    ):
        planned = await client.apply(wanted, validate_only=True)
        await client.apply(wanted)
        seen = await client.until("orders", is_healthy(1))

        assert {one.loop: list(one.agents) for one in planned.changes} == {
            one.name: [replica.agent for replica in one.instances] for one in seen.loops
        }


async def test_plan_gives_the_reasons_for_which_loops_then_wait(controller: ControllerProcess) -> None:
    far = loop("far", placement={"labels": {"planet": "mars"}})
    wanted = document("orders", loop("fetch"), loop("second"), far)
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one", slots=1):
        planned = await client.apply(wanted, validate_only=True)
        await client.apply(wanted)
        seen = await client.until(
            "orders", lambda one: any(each.state == loop_pb2.LOOP_STATE_RUNNING for each in one.loops)
        )

        reasons = {one.loop: one.reason for one in planned.changes}
        assert {name: one.code for name, one in reasons.items()} == {
            "fetch": "",
            "second": "no-free-slot",
            "far": "no-matching-labels",
        }
        assert reasons == {one.name: one.reason for one in seen.loops}


async def test_new_code_of_a_node_restarts_the_loops_that_use_it_and_no_others(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(orders("first"))
        await client.until("orders", is_healthy(1))
        before = {key: agent.epoch(key) for key in agent.assigned}
        await agent.disconnect()
        source, work = NODE_TYPES
        changed = node_type_pb2.NodeType()
        changed.CopyFrom(source)
        changed.digest = "another"
        agent.node_types = (changed, work)

        await agent.connect()
        await agent.until(lambda: agent.epoch(FETCH) > before[FETCH])

        assert agent.epoch(("orders", "price", 0)) == before["orders", "price", 0]
        assert (await client.workflow("orders")).revision == 1
