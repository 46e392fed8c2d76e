"""Who gets in, and what they may: over TLS, with certificates, tokens and neither."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
from grpc import aio

from tests.integration.controller.secured import (
    Identity,
    SecureClient,
    SecuredController,
    agent_of,
    refusal,
    request_for,
)
from tests.integration.controller.world import document, loop
from tests.servers import TestServer
from treadle.join_token import JoinToken
from treadle.v1 import agent_service_pb2 as agents_pb
from treadle.v1 import client_service_pb2 as clients_pb
from treadle.v1 import dispatcher_service_pb2 as session_pb
from treadle.v1 import enrolment_service_pb2 as enrol_pb
from treadle.v1 import event_service_pb2, loop_pb2
from treadle.v1 import workflow_service_pb2 as workflows_pb
from treadle_controller.access.authority import Authority
from treadle_controller.access.caller import Role
from treadle_controller.ca_tool import main as ca_tool

DOCUMENT = json.dumps(document("numbers", loop("feed", pushes="out"))).encode()
LIST = workflows_pb.ListWorkflowsRequest()


@pytest.fixture
def secured(tmp_path: Path, valkey: TestServer) -> Iterator[SecuredController]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    process = SecuredController(tmp_path, valkey.url)
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.log(), process.log()


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def audit(secured: SecuredController) -> list[tuple[str, str, str]]:
    """Return code, message and actor of every event so far."""
    async with secured.caller(secured.client("auditor", Role.VIEWER)) as client:
        answer = await client.events.ListEvents(event_service_pb2.ListEventsRequest(page_size=1000))
    return [(one.code, one.message, one.actor) for one in answer.events]


async def until_audited(secured: SecuredController, code: str, *words: str) -> tuple[str, str, str]:
    async with asyncio.timeout(10):
        while True:
            for one in await audit(secured):
                if one[0] == code and all(word in " ".join(one) for word in words):
                    return one


async def test_roles_are_those_of_the_certificate(secured: SecuredController) -> None:
    viewer, operator = secured.client("vera", Role.VIEWER), secured.client("otto", Role.OPERATOR)
    apply = workflows_pb.ApplyWorkflowRequest(document=DOCUMENT)
    async with secured.caller(viewer) as vera, secured.caller(operator) as otto:
        assert await refused(vera.workflows.ApplyWorkflow(apply)) == (grpc.StatusCode.PERMISSION_DENIED, "not-allowed")
        assert not (await vera.workflows.ListWorkflows(LIST)).workflows
        token = agents_pb.CreateAgentTokenRequest(name="a1")
        assert await refused(otto.agents.CreateAgentToken(token)) == (grpc.StatusCode.PERMISSION_DENIED, "not-allowed")
        who = await otto.clients.GetCaller(clients_pb.GetCallerRequest())

    assert (who.kind, who.name, who.role) == ("client", "otto", clients_pb.ROLE_OPERATOR)
    _, message, actor = await until_audited(secured, "access-refused", "vera")
    assert "ApplyWorkflow" in message
    assert actor.startswith("client vera from 127.0.0.1:")


async def test_a_certificate_for_another_namespace_is_nobody_here(secured: SecuredController) -> None:
    async with secured.caller(secured.client("ann", Role.ADMIN, "elsewhere")) as ann:
        assert await refused(ann.workflows.ListWorkflows(LIST)) == (grpc.StatusCode.PERMISSION_DENIED, "not-allowed")


async def test_who_shows_nothing_gets_nothing(secured: SecuredController) -> None:
    async with secured.caller() as nobody:
        code, reason = await refused(nobody.workflows.ListWorkflows(LIST))
    async with aio.insecure_channel(secured.address) as plain:
        call: Any = plain.unary_unary("/treadle.v1.WorkflowService/ListWorkflows")
        with pytest.raises(aio.AioRpcError) as caught:
            await call(b"", timeout=5)

    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "no-identity")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_foreign_and_expired_certificates_are_turned_away_with_a_line(secured: SecuredController) -> None:
    foreign = agent_of(Authority.create("treadle"), "a1")
    expired = secured.client("late", Role.ADMIN, days=-1e-5)
    for identity, why in ((foreign, "certificate"), (expired, "expired")):
        async with secured.caller(identity) as client:
            code, _ = await refused(client.workflows.ListWorkflows(LIST, timeout=5))
        assert code is grpc.StatusCode.UNAVAILABLE
        await until_audited(secured, "connection-refused", why, "127.0.0.1:")


async def test_tokens_are_roles_until_they_are_revoked(secured: SecuredController) -> None:
    async with secured.caller(secured.client("root", Role.ADMIN)) as root:
        request = clients_pb.CreateClientTokenRequest(name="ci", role=clients_pb.ROLE_VIEWER)
        token = (await root.clients.CreateClientToken(request)).token
        async with secured.caller(token=token) as ci:
            await ci.workflows.ListWorkflows(LIST)
            apply = workflows_pb.ApplyWorkflowRequest(document=DOCUMENT)
            assert (await refused(ci.workflows.ApplyWorkflow(apply)))[0] is grpc.StatusCode.PERMISSION_DENIED
            await root.clients.RevokeClient(clients_pb.RevokeClientRequest(name="ci"))
            assert await refused(ci.workflows.ListWorkflows(LIST)) == (
                grpc.StatusCode.UNAUTHENTICATED,
                "token-unknown",
            )

    assert token not in secured.log()
    assert token.encode() not in (secured.folder / "controller.db").read_bytes()
    await until_audited(secured, "client-revoked", "client root from")


async def test_a_revoked_client_is_cut_off_and_stays_out_after_a_restart(secured: SecuredController) -> None:
    olga = secured.client("olga", Role.OPERATOR)
    async with secured.caller(secured.client("root", Role.ADMIN)) as root, secured.caller(olga) as client:
        stream = client.events.StreamEvents(event_service_pb2.StreamEventsRequest())
        reading = asyncio.ensure_future(_drain(stream))
        await client.workflows.ListWorkflows(LIST)
        await root.clients.RevokeClient(clients_pb.RevokeClientRequest(name="olga"))
        async with asyncio.timeout(5):
            assert await reading is grpc.StatusCode.UNAVAILABLE
        assert await refused(client.workflows.ListWorkflows(LIST, wait_for_ready=True)) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "revoked",
        )
    secured.stop()
    secured.start()
    async with secured.caller(olga) as client:
        assert (await refused(client.workflows.ListWorkflows(LIST)))[1] == "revoked"


async def test_a_token_enrols_one_agent_once(secured: SecuredController) -> None:
    async with secured.caller(secured.client("root", Role.ADMIN)) as root, secured.caller() as stranger:
        made = await root.agents.CreateAgentToken(agents_pb.CreateAgentTokenRequest(name="a1"))
        key, request = request_for("whoever")
        forged = JoinToken("a2", secured.authority.digest, JoinToken.read(made.token).secret)
        enrol = enrol_pb.EnrolAgentRequest(token=str(forged), request_der=request)
        assert await refused(stranger.enrolment.EnrolAgent(enrol)) == (grpc.StatusCode.UNAUTHENTICATED, "token-unknown")
        enrol.token = made.token
        identity = Identity(key, (await stranger.enrolment.EnrolAgent(enrol)).chain_pem)
        assert await refused(stranger.enrolment.EnrolAgent(enrol)) == (grpc.StatusCode.UNAUTHENTICATED, "token-used")
        assert made.expire_time.seconds - time.time() == pytest.approx(3600, abs=60)
    async with secured.caller(identity) as agent:
        who = await agent.clients.GetCaller(clients_pb.GetCallerRequest())

    assert (who.kind, who.name) == ("agent", "a1")
    assert JoinToken.read(made.token).secret not in secured.log()
    await until_audited(secured, "agent-enrolled", "127.0.0.1:")


async def test_an_agent_speaks_for_itself_alone(secured: SecuredController) -> None:
    """Outside of a batch, and inside of one: nothing of it counts."""
    a1, a2 = secured.agent("a1"), secured.agent("a2")
    async with secured.caller(a1) as first, secured.caller(a2) as second, secured.caller(a1) as liar:
        assert await refused(_end_of(liar.dispatcher.Session(_say(hello("a2"))))) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "speaks-for-another",
        )
        holder = Session(first, "a1")
        assignment = await holder.assigned(secured)
        other = Session(second, "a2")
        await other.welcomed()
        good = loop_pb2.LoopStatus(loop=loop_pb2.LoopRef(workflow="numbers", loop="ghost"), epoch=1)
        bad = loop_pb2.LoopStatus(
            loop=assignment.loop, epoch=assignment.epoch, sequence=9, state=loop_pb2.LOOP_STATE_ERROR
        )
        other.say(report=session_pb.Report(sequence=1, statuses=[good, bad]))
        assert await refused(other.ended) == (grpc.StatusCode.PERMISSION_DENIED, "speaks-for-another")
        holder.close()

    await until_audited(secured, "access-refused", "agent a1 says that it is a2")
    await until_audited(secured, "access-refused", "agent a2 reports numbers/feed/0")
    assert not [one for one in await audit(secured) if one[0] == "loop-error"]


async def test_a_revoked_agent_loses_its_session_at_once(secured: SecuredController) -> None:
    async with secured.caller(secured.client("root", Role.ADMIN)) as root, secured.caller(secured.agent("a1")) as agent:
        session = Session(agent, "a1")
        await session.welcomed()
        await root.agents.RevokeAgent(agents_pb.RevokeAgentRequest(name="a1"))
        async with asyncio.timeout(5):
            assert (await refused(session.ended))[0] is grpc.StatusCode.UNAVAILABLE
        again = agent.dispatcher.Session(_say(hello("a1")), wait_for_ready=True)
        assert await refused(_end_of(again)) == (grpc.StatusCode.UNAUTHENTICATED, "revoked")
        renewal = enrol_pb.RenewAgentRequest(request_der=request_for("a1")[1])
        assert (await refused(agent.enrolment.RenewAgent(renewal)))[1] == "revoked"


async def test_new_files_are_used_without_a_restart(secured: SecuredController) -> None:
    root = secured.client("root", Role.ADMIN)
    before = (secured.tls / "cert.pem").read_bytes()
    async with secured.caller(root) as old:
        await old.workflows.ListWorkflows(LIST)
        assert ca_tool(["ca", "renew", "--dir", str(secured.tls)]) == 0
        async with secured.caller(root) as new:
            await new.workflows.ListWorkflows(LIST)
        await old.workflows.ListWorkflows(LIST)  # connections of before go on

    assert (secured.tls / "cert.pem").read_bytes() != before
    assert "new TLS files are in use" in secured.log()


def hello(name: str) -> session_pb.SessionRequest:
    return session_pb.SessionRequest(hello=session_pb.Hello(agent=name, boot_id=name))


async def _say(*requests: session_pb.SessionRequest) -> AsyncIterator[session_pb.SessionRequest]:
    for request in requests:
        yield request


async def _end_of(call: Any) -> None:
    async for _ in call:
        pass


async def _drain(call: Any) -> grpc.StatusCode:
    try:
        await _end_of(call)
    except aio.AioRpcError as exc:
        return exc.code()
    return grpc.StatusCode.OK


class Session:
    """One agent's session, by hand."""

    def __init__(self, client: SecureClient, name: str) -> None:
        from tests.integration.controller.agent_client import NODE_TYPES

        self._requests: asyncio.Queue[session_pb.SessionRequest] = asyncio.Queue()
        greeting = hello(name)
        greeting.hello.slots.thread = greeting.hello.slots.asyncio = greeting.hello.slots.process = 10
        greeting.hello.node_types.extend(NODE_TYPES)
        self._requests.put_nowait(greeting)
        self._call = client.dispatcher.Session(self._said())
        self._messages: asyncio.Queue[session_pb.SessionResponse] = asyncio.Queue()
        self.session = ""
        self.ended = asyncio.ensure_future(self._read())

    def say(self, **message: Any) -> None:
        self._requests.put_nowait(session_pb.SessionRequest(session_id=self.session, **message))

    def close(self) -> None:
        self.ended.cancel()
        self._call.cancel()

    async def welcomed(self) -> None:
        async with asyncio.timeout(10):
            while not (message := await self._messages.get()).HasField("welcome"):
                pass
        self.session = message.welcome.session_id

    async def assigned(self, secured: SecuredController) -> session_pb.Assignment:
        """Have a workflow applied by an operator, and return the loop that this agent is given."""
        await self.welcomed()
        async with secured.caller(secured.client("otto", Role.OPERATOR)) as otto:
            await otto.workflows.ApplyWorkflow(workflows_pb.ApplyWorkflowRequest(document=DOCUMENT))
        async with asyncio.timeout(10):
            while True:
                message = await self._messages.get()
                if message.assignments.set:
                    return message.assignments.set[0]

    async def _said(self) -> AsyncIterator[session_pb.SessionRequest]:
        while True:
            yield await self._requests.get()

    async def _read(self) -> None:
        async for message in self._call:
            self._messages.put_nowait(message)
