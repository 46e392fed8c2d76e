"""Programs outside: pushing once, and reading a queue as one of its readers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
import redis
from grpc import aio

from tests.cutting_proxy import CuttingProxy, cutting_proxy
from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.consumer import Consumer, reason
from tests.integration.controller.world import Client, ControllerProcess, document, loop
from tests.queue_world import eventually
from tests.servers import TestServer, redis_server
from treadle.v1 import loop_pb2, queue_pb2
from treadle.v1 import queue_service_pb2 as pb
from treadle.v1 import workflow_service_pb2 as workflows_pb

RUNNING = loop_pb2.LOOP_STATE_RUNNING


def queue_nodes(*queues: str, **settings: Any) -> dict[str, Any]:
    """A loop that nobody runs, with the queues that programs outside use."""
    one = loop("fetch")
    for name in queues:
        data = {"queue": name, "external": True, **settings}
        one["nodes"].append({"id": f"to-{name}", "type": "queue", "position": {"x": 0, "y": 0}, "data": data})
        one["edges"].append({"id": f"e-{name}", "source": "fetch-work", "target": f"to-{name}"})
    return one


def reader(name: str, queue: str, **settings: Any) -> dict[str, Any]:
    nodes = [
        {"id": name, "type": "queue-reader", "position": {"x": 0, "y": 0}, "data": {"queue": queue, **settings}},
        {"id": f"{name}-work", "type": "blocking", "position": {"x": 0, "y": 0}, "data": {"uses": "test.work"}},
    ]
    return {"nodes": nodes, "edges": [{"id": f"e-{name}", "source": name, "target": f"{name}-work"}]}


FLOW = document("orders", queue_nodes("raw", "priced"))


async def apply(client: Client, flow: dict[str, Any]) -> None:
    """Apply a workflow that nobody runs, in place of any before."""
    async with ScriptedAgent(client.address, "offers", slots=0):
        pass  # its node types are known from now on
    with contextlib.suppress(aio.AioRpcError):  # there is none before the first test
        await client.workflows.DeleteWorkflow(workflows_pb.DeleteWorkflowRequest(name="orders", with_queues=True))
    await client.apply(flow)


async def push(client: Client, queue: str, payloads: Sequence[Any], **more: Any) -> pb.PushQueueResponse:
    encoded = [msgspec.msgpack.encode(payload) for payload in payloads]
    response: pb.PushQueueResponse = await client.queues.PushQueue(
        pb.PushQueueRequest(name=queue, payloads=encoded, **more)
    )
    return response


async def state_of(client: Client, queue: str) -> queue_pb2.Queue:
    found: queue_pb2.Queue = (await client.queues.GetQueue(pb.GetQueueRequest(name=queue))).queue
    return found


async def contents(client: Client, queue: str) -> list[Any]:
    response = await client.queues.PeekQueue(pb.PeekQueueRequest(name=queue, limit=1000))
    return [msgspec.msgpack.decode(message.payload) for message in response.messages]


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    """Return a controller with a Redis for all tests that leave both alive."""
    with redis_server() as server:
        process = ControllerProcess(tmp_path_factory.mktemp("steady"), server.url)
        process.start()
        yield process
        process.kill()
        assert "Traceback" not in process.log(), process.log()


@pytest.fixture
def proxied(tmp_path: Path, valkey: TestServer) -> Iterator[tuple[ControllerProcess, CuttingProxy]]:
    """Return a controller whose Redis loses answers, and what loses them."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with cutting_proxy(valkey.url) as proxy:
        process = ControllerProcess(tmp_path, proxy.url)
        process.start()
        yield process, proxy
        process.kill()
        assert "Traceback" not in process.log(), process.log()


async def test_a_consumer_moves_messages_between_queues(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": n} for n in range(5)])

        async with Consumer(client, "raw", writes=["priced"]) as one:
            assert one.opened.committed == 0
            first, found = await one.messages(5)
            assert found == [{"n": n} for n in range(5)]
            await one.commit(first, first + 2, {"priced": [{"n": n, "price": 7} for n in range(3)]})

            state = await state_of(client, "raw")
            assert (state.depth, [(it.name, it.connected) for it in state.consumers]) == (2, [("billing", True)])
        assert await contents(client, "priced") == [{"n": n, "price": 7} for n in range(3)]

        async with Consumer(client, "raw") as again:
            assert again.opened.committed == 1
            assert await again.messages(2) == (4, [{"n": 3}, {"n": 4}])
            await again.send(4, 5)
            await again.end()
        assert (await state_of(client, "raw")).depth == 0


async def test_credits_bound_what_is_under_way(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": n} for n in range(10)])

        async with Consumer(client, "raw", limit=3) as one:
            assert await one.messages(3) == (1, [{"n": 0}, {"n": 1}, {"n": 2}])
            # Nothing may come now but the answer to the commit, and then one message for one that is done.
            await one.send(1, 1)
            kinds = {(await one.answer()).WhichOneof("message") for _ in range(2)}
            assert kinds == {"committed", "batch"}
            await one.say(credit=pb.ConsumeCredit(messages=6))
            assert await one.messages(6) == (5, [{"n": n} for n in range(4, 10)])


async def test_the_second_stream_of_a_consumer_fences_the_first(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": 1}, {"n": 2}])

        async with Consumer(client, "raw", writes=["priced"]) as old:
            await old.messages(2)
            async with Consumer(client, "raw", writes=["priced"]) as new:
                assert new.opened.epoch > old.opened.epoch
                assert await new.messages(2) == (1, [{"n": 1}, {"n": 2}])
                with pytest.raises(aio.AioRpcError) as gone:
                    await old.answer()
                assert reason(gone.value) == ("ABORTED", "consumer-taken-over")
                await new.commit(1, 2, {"priced": [{"by": "new"}]})
        assert await contents(client, "priced") == [{"by": "new"}]


async def test_a_slot_and_what_was_committed_survive_the_controller(controller: ControllerProcess) -> None:
    async with Client(controller.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": n} for n in range(4)])
        async with Consumer(client, "raw", writes=["priced"]) as one:
            await one.messages(4)
            await one.commit(1, 2, {"priced": [{"n": 0}, {"n": 1}]})
            await one.send(3, 3, {"priced": [{"n": 2}]})
            controller.kill()
        controller.start()

    async with Client(controller.address) as client:
        async with Consumer(client, "raw", writes=["priced"]) as again:
            # The controller died with the answer, or before: either way it says which.
            assert again.opened.committed in {1, 2}
            done = again.opened.committed + 1
            first, found = await again.messages(4 - done)
            assert (first, found) == (done + 1, [{"n": n} for n in range(done, 4)])
            await again.commit(first, 4, {"priced": [{"n": n} for n in range(done, 4)]})
        assert await contents(client, "priced") == [{"n": n} for n in range(4)]


async def push_until_answered(client: Client, sequence: int) -> None:
    """Do as the guide says: what was not answered is sent again, word for word."""
    while True:
        try:
            await push(client, "raw", [{"n": sequence}], producer="till", sequence=sequence)
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        else:
            return


async def test_nothing_is_done_twice_when_the_answers_of_redis_are_lost(
    proxied: tuple[ControllerProcess, CuttingProxy],
) -> None:
    controller, proxy = proxied
    async with Client(controller.address) as client:
        await apply(client, FLOW)
        for sequence in range(1, 21):
            if sequence % 5 == 0:
                proxy.cut(b"treadle_push", 1)
            await push_until_answered(client, sequence)
        assert (await state_of(client, "raw")).pushed == 20

        async with Consumer(client, "raw", writes=["priced"]) as one:
            first, found = await one.messages(20)
            for number, payload in enumerate(found, first):
                if number % 5 == 0:
                    proxy.cut(b"treadle_commit", 1)
                await one.commit(number, number, {"priced": [payload]})
        assert await contents(client, "priced") == [{"n": n} for n in range(1, 21)]
        assert proxy.cuts >= 6


async def test_a_push_that_is_sent_again_to_another_life_of_the_controller_is_known(
    controller: ControllerProcess,
) -> None:
    async with Client(controller.address) as client:
        await apply(client, FLOW)
        first = await push(client, "raw", [{"n": 1}, {"n": 2}], producer="till", sequence=7)
        assert (first.first, first.duplicate) == (1, False)
        controller.kill()
        controller.start()

    async with Client(controller.address) as client:
        again = await push(client, "raw", [{"n": 1}, {"n": 2}], producer="till", sequence=7)
        assert again.duplicate
        assert (await state_of(client, "raw")).pushed == 2


async def test_a_consumer_shares_a_queue_with_a_loop_and_gives_back_what_it_had_claimed(
    controller: ControllerProcess, valkey: TestServer
) -> None:
    flow = document("orders", queue_nodes("raw"), reader("price", "raw", external=True))
    with redis.Redis.from_url(valkey.url, decode_responses=True) as server:
        async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
            await client.apply(flow)
            await client.until("orders", lambda it: it.state == RUNNING)
            await push(client, "raw", [{"n": n} for n in range(8)])
            async with Consumer(client, "raw") as one:
                assert server.hget("{default}:q:raw:m", "who") == "orders/price/0 ~raw/billing/0"
                first, _ = await one.messages(2)
                await one.commit(first, first)
            claimed = str(server.hget("{default}:q:raw:c", "~raw/billing/0"))
            assert claimed.startswith("2 ")

            await client.queues.DeleteConsumer(pb.DeleteConsumerRequest(queue="raw", consumer="billing"))
            await asyncio.to_thread(eventually, lambda: server.hget("{default}:q:raw:m", "who") == "orders/price/0")
            assert server.hkeys("{default}:q:raw:c") == ["orders/price/0"]
            given = str(server.hget("{default}:q:raw:c", "orders/price/0"))
            assert given.startswith(claimed), "a last claim may have been under way"
            assert not (await state_of(client, "raw")).consumers


async def test_consumers_that_share_a_queue_get_each_message_once_between_them(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": n} for n in range(40)])
        async with Consumer(client, "raw", "left", limit=8) as alone:
            await alone.messages(8)
            await alone.commit(1, 4)
            async with Consumer(client, "raw", "right", limit=8) as right:
                with pytest.raises(aio.AioRpcError) as reset:
                    await hear_all(alone)
                assert reason(reset.value) == ("UNAVAILABLE", "consumer-reset")
                async with Consumer(client, "raw", "left", limit=8) as left:
                    seen, everything = list(range(4)), asyncio.Event()
                    both = [asyncio.create_task(take(one, seen, everything)) for one in (left, right)]
                    await everything.wait()
                    for one in (left, right):
                        await one.say_no_more()
                    await asyncio.gather(*both)
        assert sorted(seen) == list(range(40))
        assert (await state_of(client, "raw")).depth == 0


async def hear_all(consumer: Consumer) -> None:
    """Wait for the end: it may be given more before, in the place of what it has acknowledged."""
    while True:
        await consumer.answer()


async def take(consumer: Consumer, seen: list[int], everything: asyncio.Event) -> None:
    """Commit what comes until the stream ends."""
    with contextlib.suppress(EOFError):
        while True:
            answer = await consumer.answer()
            if answer.WhichOneof("message") == "batch":
                seen += [payload["n"] for payload, _ in msgspec.msgpack.decode(answer.batch.items)]
                await consumer.send(answer.batch.first, answer.batch.first + answer.batch.count - 1)
            if len(seen) >= 40:
                everything.set()


async def test_a_rejected_message_is_a_dead_letter_and_comes_back_when_it_is_replayed(
    steady: ControllerProcess,
) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": 1}, {"n": 2}])
        async with Consumer(client, "raw") as one:
            await one.messages(2)
            await one.commit(1, 2, rejects=[pb.ConsumeReject(number=2, error="TooOld", message="of last year")])
            (letter,) = (await client.queues.ListDeadLetters(pb.ListDeadLettersRequest(queue="raw"))).dead_letters
            assert (letter.number, letter.error, letter.reason.message) == (2, "TooOld", "of last year")
            await client.queues.ReplayDeadLetters(pb.ReplayDeadLettersRequest(queue="raw", all=True))
            assert await one.messages(1) == (3, [{"n": 2}])


async def test_an_entry_that_nobody_can_read_does_not_stop_a_consumer(
    steady: ControllerProcess,
) -> None:
    with redis.Redis.from_url(steady.redis_url) as server:
        async with Client(steady.address) as client:
            await apply(client, FLOW)
            push_call = ("FCALL", "treadle_push", 1, "{default}:meta", "{default}:", "raw", "", 0)
            server.execute_command(*push_call, 2, 3, 1, 2, b"\x92\x01\x92\x80\xc0")
            async with Consumer(client, "raw") as one:
                assert await one.messages(1) == (2, [{}])
                await asyncio.to_thread(eventually, lambda: int(server.hget("{default}:q:raw:m", "dead") or 0) == 1)
                await one.commit(2, 2)
            assert (await state_of(client, "raw")).depth == 0


BAD_OPENINGS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"queue": "nowhere"}, ("NOT_FOUND", "queue-not-found")),
    ({"queue": "inner"}, ("FAILED_PRECONDITION", "queue-not-external")),
    ({"queue": "raw", "writes": ["inner"]}, ("FAILED_PRECONDITION", "queue-not-external")),
    ({"queue": "raw", "consumer": "a/b"}, ("INVALID_ARGUMENT", "bad-name")),
    ({"queue": "raw", "credits": -1}, ("INVALID_ARGUMENT", "bad-request")),
    ({"queue": "raw", "namespace": "other"}, ("NOT_FOUND", "namespace-not-found")),
]


async def test_a_stream_that_cannot_be_opened_says_why(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, document("orders", queue_nodes("raw"), loop("more", pushes="inner")))
        for opening, expected in BAD_OPENINGS:
            call = client.queues.Consume()
            await call.write(pb.ConsumeRequest(open=pb.ConsumeOpen(**{"consumer": "billing", **opening})))
            with pytest.raises(aio.AioRpcError) as refused:
                await call.read()
            assert reason(refused.value) == expected


def says(**fields: Any) -> dict[str, Any]:
    return {"commit": pb.ConsumeCommit(**{"seq": 1, **fields})}


BAD_WORDS: list[tuple[dict[str, Any], str]] = [
    (says(seq=5), "bad-sequence"),
    (says(acks=[pb.NumberRange(first=2, last=2)]), "ack-out-of-order"),
    (says(pushes=[pb.ConsumePush(queue="priced", payloads=[b"\x80"])]), "undeclared-queue"),
    (says(pushes=[pb.ConsumePush(queue="raw", payloads=[b"\x80", b"\x01"])]), "bad-data"),
    (says(pushes=[pb.ConsumePush(queue="raw", payloads=[b"\x80"] * 10_001)]), "bad-request"),
    (says(rejects=[pb.ConsumeReject(number=1)]), "reject-without-ack"),
    ({"credit": pb.ConsumeCredit(messages=0)}, "bad-request"),
    ({"open": pb.ConsumeOpen(queue="raw", consumer="x")}, "bad-message"),
]


async def test_a_word_out_of_place_ends_the_stream_with_the_reason_and_changes_nothing(
    steady: ControllerProcess,
) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": 1}])
        for said, expected in BAD_WORDS:
            async with Consumer(client, "raw", writes=["raw"]) as one:
                await one.messages(1)
                await one.say(**said)
                with pytest.raises(aio.AioRpcError) as refused:
                    await one.answer()
                assert reason(refused.value) == ("INVALID_ARGUMENT", expected)
        state = await state_of(client, "raw")
        assert (state.depth, state.pushed) == (1, 1)


async def test_a_full_queue_slows_a_consumer_down_and_loses_nothing(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, document("orders", queue_nodes("raw"), queue_nodes_apart("small", messages=2)))
        await push(client, "raw", [{"n": n} for n in range(6)])
        async with (
            Consumer(client, "raw", writes=["small"]) as one,
            Consumer(client, "small", "drain", limit=1) as other,
        ):
            first, found = await one.messages(6)
            for number, payload in enumerate(found, first):
                await one.send(number, number, {"small": [payload]})
            drained: list[Any] = []
            while len(drained) < 6:
                answer = await other.answer()
                if answer.WhichOneof("message") == "batch":
                    drained += [payload for payload, _ in msgspec.msgpack.decode(answer.batch.items)]
                    await other.send(answer.batch.first, answer.batch.first + answer.batch.count - 1)
            assert drained == found


def queue_nodes_apart(name: str, **limits: int) -> dict[str, Any]:
    """A second loop with one queue that is limited."""
    one = loop("slow")
    data = {"queue": name, "external": True, "limits": limits}
    one["nodes"].append({"id": f"to-{name}", "type": "queue", "position": {"x": 0, "y": 0}, "data": data})
    one["edges"].append({"id": f"e-{name}", "source": "slow-work", "target": f"to-{name}"})
    return one


async def test_a_queue_that_is_no_longer_external_lets_its_consumers_go(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        async with Consumer(client, "raw") as one:
            await client.apply(document("orders", queue_nodes("raw", "priced", external=False)))
            with pytest.raises(aio.AioRpcError) as gone:
                await one.answer()
            assert reason(gone.value) == ("FAILED_PRECONDITION", "queue-not-external")


async def test_a_purge_resets_a_consumer_that_holds_what_is_gone(steady: ControllerProcess) -> None:
    async with Client(steady.address) as client:
        await apply(client, FLOW)
        await push(client, "raw", [{"n": 1}, {"n": 2}])
        async with Consumer(client, "raw", writes=["priced"]) as one:
            await one.messages(2)
            await client.queues.PurgeQueue(pb.PurgeQueueRequest(name="raw"))
            await one.send(1, 2, {"priced": [{"n": 1}]})
            with pytest.raises(aio.AioRpcError) as reset:
                await one.answer()
            assert reason(reset.value) == ("UNAVAILABLE", "consumer-reset")
        assert await contents(client, "priced") == []
        async with Consumer(client, "raw") as again:
            assert again.opened.committed == 0
