from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from treadle.v1 import (
    loop_pb2,
    loop_service_pb2,
    queue_pb2,
    queue_service_pb2,
    workflow_pb2,
    workflow_service_pb2,
)
from wfctl.client import Client
from wfctl.errors import Refused, Unhealthy
from wfctl.settings import Settings


def refusal(code: int, message: str, *details: Any) -> Any:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code, message=message, details=packed)

    def refuse(request: Any, context: grpc.ServicerContext) -> None:
        context.abort_with_status(rpc_status.to_status(status))

    return refuse


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (code_pb2.INVALID_ARGUMENT, 2),
        (code_pb2.NOT_FOUND, 4),
        (code_pb2.ABORTED, 5),
        (code_pb2.ALREADY_EXISTS, 5),
        (code_pb2.FAILED_PRECONDITION, 1),
        (code_pb2.PERMISSION_DENIED, 1),
        (code_pb2.INTERNAL, 1),
    ],
)
def test_every_status_has_its_exit_code_and_its_sentence(
    wfctl: Any, controller: Any, code: int, exit_code: int
) -> None:
    controller.answers["GetWorkflow"] = refusal(code, "because \x1b[31mof this")

    ran = wfctl("get", "workflows", "orders", "--address", controller.address)

    assert (ran.code, ran.out) == (exit_code, "")
    assert ran.err == "wfctl: because \\x1b[31mof this\n"


def test_a_refused_document_shows_its_findings_under_its_file(wfctl: Any, controller: Any, tmp_path: Path) -> None:
    found = workflow_pb2.Finding(
        code="wrong-role", severity=workflow_pb2.SEVERITY_ERROR, pointer="/nodes/1", element="n", message="no", fix="so"
    )
    info = error_details_pb2.ErrorInfo(reason="wrong-role", domain="treadle")
    answer = workflow_service_pb2.ValidateWorkflowResponse(findings=[found])
    controller.answers["ApplyWorkflow"] = refusal(code_pb2.INVALID_ARGUMENT, "1 error", info, answer)
    file = tmp_path / "x.json"
    file.write_text('{"nodes": [], "edges": []}')

    ran = wfctl("apply", "-f", str(file), "--address", controller.address)
    assert (ran.code, ran.out) == (3, f"{file}: /nodes/1: wrong-role: no; so\n")

    ran = wfctl("apply", "-f", str(file), "--address", controller.address, "-o", "json")
    assert json.loads(ran.out)[0]["severity"] == "error"


def test_a_controller_that_is_not_there_is_named_with_what_to_do(wfctl: Any) -> None:
    ran = wfctl("get", "workflows", "--address", "127.0.0.1:1")

    assert ran.code == 1
    assert "127.0.0.1:1 can't be reached" in ran.err
    assert "wfctl dev" in ran.err


def test_apply_tries_once_more_when_the_revision_moved(wfctl: Any, controller: Any, tmp_path: Path) -> None:
    revisions = iter([4, 5])
    controller.answers["GetWorkflow"] = lambda request, context: workflow_service_pb2.GetWorkflowResponse(
        workflow=workflow_pb2.Workflow(name="x", revision=next(revisions))
    )

    def apply(request: Any, context: grpc.ServicerContext) -> Any:
        if request.if_revision == 4:
            context.abort(grpc.StatusCode.ABORTED, "it is 5 by now")
        return workflow_service_pb2.ApplyWorkflowResponse(workflow=workflow_pb2.Workflow(name="x", revision=6))

    controller.answers["ApplyWorkflow"] = apply
    file = tmp_path / "x.json"
    file.write_text('{"nodes": [], "edges": []}')

    ran = wfctl("apply", "--detach", "-f", str(file), "--address", controller.address)

    assert ran.code == 0
    assert wfctl("apply", "--if-revision", "4", "-f", str(file), "--address", controller.address).code == 5


def test_all_pages_are_fetched_as_one_answer(controller: Any) -> None:
    def page(request: Any, context: grpc.ServicerContext) -> Any:
        number = int(request.page_token or 0)
        queue = queue_pb2.Queue(name=f"q{number}")
        return queue_service_pb2.ListQueuesResponse(
            queues=[queue], next_page_token=str(number + 1) if number < 2 else ""
        )

    controller.answers["ListQueues"] = page
    with Client(Settings(address=controller.address)) as client:
        answer = client.call_all(client.queues.ListQueues, queue_service_pb2.ListQueuesRequest())

    assert [queue.name for queue in answer.queues] == ["q0", "q1", "q2"]
    assert answer.next_page_token == ""


def test_errors_are_typed_and_carry_the_reason(controller: Any) -> None:
    info = error_details_pb2.ErrorInfo(reason="queue-in-use", domain="treadle")
    controller.answers["DeleteQueue"] = refusal(code_pb2.FAILED_PRECONDITION, "in use", info)
    request = queue_service_pb2.DeleteQueueRequest(name="q")

    with Client(Settings(address=controller.address)) as client, pytest.raises(Refused) as caught:
        client.call(client.queues.DeleteQueue, request)

    assert caught.value.details["reason"] == "queue-in-use"


def test_no_answer_in_time_is_exit_code_6(controller: Any) -> None:
    def never(request: Any, context: grpc.ServicerContext) -> None:
        while context.is_active():
            context.time_remaining()

    controller.answers["GetQueue"] = never
    with (
        Client(Settings(address=controller.address, timeout_s=0.2)) as client,
        pytest.raises(Unhealthy, match=r"within 0\.2s"),
    ):
        client.call(client.queues.GetQueue, queue_service_pb2.GetQueueRequest(name="q"))


def test_keys_that_others_can_read_are_refused(wfctl: Any, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----")
    pem.chmod(0o640)

    ran = wfctl("get", "workflows", "--cacert", str(pem), "--cert", str(pem), "--key", str(pem))

    assert ran.code == 2
    assert f"chmod 600 {pem}" in ran.err


def test_tables_show_server_strings_without_their_escapes(wfctl: Any, controller: Any) -> None:
    loop = loop_pb2.Loop(
        workflow="orders", name="evil\x1b[2J[red]", pool=loop_pb2.POOL_THREAD, state=loop_pb2.LOOP_STATE_RUNNING
    )
    controller.answers["ListLoops"] = loop_service_pb2.ListLoopsResponse(loops=[loop])

    ran = wfctl("get", "loops", "--address", controller.address)

    assert "evil\\x1b[2J[red]" in ran.out
    assert "\x1b" not in ran.out
    assert "RUNNING" in ran.out
    assert wfctl("get", "loops", "--address", controller.address, "-o", "name").out == "loop/orders/evil\\x1b[2J[red]\n"
    as_yaml = wfctl("get", "loops", "--address", controller.address, "-o", "yaml").out
    assert "\x1b" not in as_yaml
    assert wfctl("get", "loops", "--address", controller.address, "-l", "pool=process", "-o", "name").out == ""


def test_peek_prints_a_line_of_json_for_each_message(wfctl: Any, controller: Any) -> None:
    message = queue_pb2.QueueMessage(id="default/q/7", number=7, payload=msgspec.msgpack.encode({"n": 1, "b": b"\x00"}))
    controller.answers["PeekQueue"] = queue_service_pb2.PeekQueueResponse(messages=[message])

    ran = wfctl("queue", "peek", "q", "--address", controller.address)

    assert json.loads(ran.out) == {"id": "default/q/7", "number": 7, "payload": {"n": 1, "b": "AA=="}}


def test_push_sends_the_lines_of_json_as_message_pack(wfctl: Any, controller: Any) -> None:
    controller.answers["PushQueue"] = queue_service_pb2.PushQueueResponse(first=3)

    ran = wfctl("queue", "push", "q", '{"n": 1}', '{"n": 2}', "--address", controller.address)

    assert ran.out == "pushed 2 to q, numbers 3 to 4\n"
    assert [msgspec.msgpack.decode(raw) for raw in controller.requests[0].payloads] == [{"n": 1}, {"n": 2}]
