"""Applying documents: what is stored, assigned, touched and refused."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from treadle.v1 import loop_pb2, workflow_pb2
from treadle.v1 import workflow_service_pb2 as pb

RUNNING = loop_pb2.LOOP_STATE_RUNNING
TWO = document("orders", loop("fetch", pushes="raw"), reader("price", "raw", pool="asyncio"))


def kinds(response: pb.ApplyWorkflowResponse) -> dict[str, str]:
    return {change.loop: workflow_pb2.ChangeKind.Name(change.kind)[12:].lower() for change in response.changes}


async def test_an_applied_workflow_is_assigned_acknowledged_and_running(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        response = await client.apply(TWO)

        assert kinds(response) == {"fetch": "created", "price": "created"}
        workflow = await client.until("orders", lambda one: one.state == RUNNING)
        assert [one.name for one in workflow.loops] == ["fetch", "price"]
        assert {one.instances[0].agent for one in workflow.loops} == {"one"}
        assignment = agent.assigned["orders", "price", 0]
        assert json.loads(assignment.plan_json)["loop"] == "price"
        assert [queue.name for queue in assignment.queues] == ["raw"]
        assert assignment.queues[0].limit_messages == 1_000_000
        assert assignment.epoch > 0
        assert workflow.revision == 1


async def test_apply_to_running_is_quick(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        took = []
        for number in range(10):
            begun = time.perf_counter()
            await client.apply(document(f"flow{number}", loop("fetch")))
            await client.until(f"flow{number}", lambda one: one.state == RUNNING)
            took.append(time.perf_counter() - begun)

        assert sorted(took)[len(took) // 2] < 0.15


async def test_the_same_document_changes_nothing_and_moved_nodes_touch_no_loop(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(TWO)
        await client.until("orders", lambda one: one.state == RUNNING)
        epochs = {key: agent.epoch(key) for key in agent.assigned}

        again = await client.apply(TWO)
        moved = json.loads(json.dumps(TWO))
        moved["nodes"][0]["position"] = {"x": 300, "y": 20}
        layout = await client.apply(moved)

        assert set(kinds(again).values()) == {"unchanged"}
        assert again.workflow.revision == 1
        assert set(kinds(layout).values()) == {"unchanged"}
        assert layout.workflow.revision == 2
        assert json.loads((await client.workflow("orders")).document) == moved
        assert {key: agent.epoch(key) for key in agent.assigned} == epochs
        assert len(agent.started) == 2


async def test_a_change_to_one_loop_restarts_that_loop_only(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(TWO)
        await client.until("orders", lambda one: one.state == RUNNING)
        before = {key: agent.epoch(key) for key in agent.assigned}

        changed = await client.apply(
            document("orders", loop("fetch", pushes="raw", note="new"), reader("price", "raw", pool="asyncio"))
        )

        assert kinds(changed) == {"fetch": "changed", "price": "unchanged"}
        await agent.until(lambda: agent.epoch(("orders", "fetch", 0)) > before["orders", "fetch", 0])
        await client.until("orders", lambda one: one.state == RUNNING)
        assert agent.epoch(("orders", "price", 0)) == before["orders", "price", 0]
        assert [key for key, _ in agent.started].count(("orders", "price", 0)) == 1


async def test_a_removed_loop_is_drained_and_gone(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as agent:
        await client.apply(document("orders", loop("a"), loop("b")))
        await client.until("orders", lambda one: one.state == RUNNING)

        response = await client.apply(document("orders", loop("a")))

        assert kinds(response) == {"a": "unchanged", "b": "removed"}
        await agent.until(lambda: ("orders", "b", 0) not in agent.running)
        await client.until("orders", lambda one: [it.name for it in one.loops] == ["a"])


async def test_asking_what_would_happen_changes_nothing(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        response = await client.apply(TWO, validate_only=True)

        assert kinds(response) == {"fetch": "created", "price": "created"}
        assert list(response.changes[0].agents) == ["one"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.workflow("orders")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_bad_document_is_refused_with_its_findings_in_the_details(controller: ControllerProcess) -> None:
    bad = document("orders", loop("fetch"))
    bad["nodes"][1]["data"]["uses"] = "test.wrok"
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.apply(bad)

        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        info, violations, findings = details(
            refused.value,
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            pb.ValidateWorkflowResponse,
        )
        assert (info.reason, info.domain) == ("invalid-workflow", "treadle")
        assert violations.field_violations[0].field == "/nodes/1/data/uses"
        assert [(one.code, one.pointer) for one in findings.findings] == [("unknown-node-type", "/nodes/1/data/uses")]


async def test_thousands_of_findings_still_fit_into_the_details(controller: ControllerProcess) -> None:
    bad = {"name": "orders", "nodes": [{"id": f"n{i}", "type": "odd", "data": {}} for i in range(900)], "edges": []}
    async with Client(controller.address) as client:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.apply(bad)

        (findings,) = details(refused.value, pb.ValidateWorkflowResponse)
        assert findings.findings[-1].code == "more-findings"
        request = pb.ValidateWorkflowRequest(document=json.dumps(bad).encode())
        assert len((await client.workflows.ValidateWorkflow(request)).findings) == 900


async def test_another_revision_than_expected_is_a_conflict(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(TWO, if_revision=0)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.apply(TWO, if_revision=0)

        assert refused.value.code() is grpc.StatusCode.ABORTED
        (info,) = details(refused.value, error_details_pb2.ErrorInfo)
        assert (info.reason, info.metadata["name"]) == ("revision-mismatch", "orders")


async def test_the_same_request_id_answers_the_same_once(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        first, second = await asyncio.gather(client.apply(TWO, request_id="r1"), client.apply(TWO, request_id="r1"))

        assert first == second
        assert kinds(second) == {"fetch": "created", "price": "created"}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.apply(document("other", loop("a")), request_id="r1")
        (info,) = details(refused.value, error_details_pb2.ErrorInfo)
        assert info.reason == "request-id-reused"


def details(error: grpc.aio.AioRpcError, *kinds: type) -> list[Any]:
    """Read the details of these kinds from an error, in this order."""
    metadata: dict[str, Any] = dict(list(error.trailing_metadata() or ()))
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    found = []
    for kind in kinds:
        message = kind()
        assert any(detail.Unpack(message) for detail in status.details), f"no {kind.__name__} in {status}"
        found.append(message)
    return found
