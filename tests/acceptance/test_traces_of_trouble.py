"""What a collector gets of retries, dead letters and replay, of iterations nobody sampled, and of logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from tests.acceptance.documents import edges, node, save
from tests.acceptance.pushing import push
from tests.acceptance.running import Dev, dev, wait_until
from tests.otlp import GotSpan, Receiver, receiver, values
from tests.servers import redis_server
from treadle.telemetry import conventions as c
from treadle.telemetry.origin import Origin, read_origin
from treadle.v1 import queue_service_pb2, queue_service_pb2_grpc

NODES = str(Path(__file__).with_name("nodes") / "shaky.py")
CLIENT = Origin(0x1234_0000_0000_0000_0000_0000_0000_5678, 0xABCD)
CALL = "treadle.v1.QueueService/PushQueue"
ONCE, ALWAYS, WELL, READ = 4, 7, 9, 10  # numbers: which fail at their first attempt, which fail, which work


def document(book: Path) -> dict[str, Any]:
    retry = {"max_attempts": 2, "initial_backoff": "10ms"}
    shaky = {"book": str(book), "once": ONCE, "always": ALWAYS}
    return {
        "name": "shaky",
        "nodes": [
            node("work", "queue-reader", 0, queue="numbers", external=True),
            node("shaky", "blocking", 200, uses="test.shaky", retry=retry, **{"with": shaky}),
            node("put", "queue", 400, queue="kept"),
            node("store", "queue-reader", 600, queue="kept", tracing="parent", pool="asyncio"),
            node("keep", "blocking", 800, uses="transform", **{"with": {"set": {"n": "data.n"}}}),
        ],
        "edges": edges(("work", "shaky"), ("shaky", "put"), ("put", "store"), ("store", "keep")),
    }


def logs(folder: Path) -> list[str]:
    return [line for path in folder.rglob("*.log") for line in path.read_text().splitlines()]


@dataclass
class World:
    """A cluster that samples nothing by itself, with one workflow."""

    dev: Dev
    collector: Receiver

    def push(self, number: int, *metadata: tuple[str, str]) -> None:
        push(self.dev.address, "numbers", [number], metadata)

    def named(self, name: str, trace_id: bytes | None = None) -> list[GotSpan]:
        return [span for span in self.collector.spans if span.name == name and trace_id in (None, span.trace_id)]

    def get(self, name: str, trace_id: bytes | None = None, count: int = 1) -> list[GotSpan]:
        """Wait for so many spans of this name, and return them in the order of their beginnings."""
        found = self.collector.wait(
            lambda: spans if len(spans := self.named(name, trace_id)) >= count else [], f"{count} of {name}"
        )
        return sorted(found, key=lambda span: int(span.raw.start_time_unix_nano))

    def dead(self, count: int) -> list[GotSpan]:
        """Wait for so many iterations that failed."""

        def failed() -> list[GotSpan]:
            found = [span for span in self.named("iteration shaky/work") if span.raw.status.code == 2]
            return found if len(found) == count else []

        found = self.collector.wait(failed, f"{count} that failed")
        return sorted(found, key=lambda span: int(span.raw.start_time_unix_nano))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("trouble")
    with receiver() as collector, redis_server("valkey") as server:
        settings = {
            "TREADLE_AGENT_OTLP_ENDPOINT": collector.endpoint,
            "TREADLE_AGENT_OTLP_LOGS": "true",
            "TREADLE_AGENT_TRACES__RATIO": "0.0",
            "TREADLE_AGENT_LOG_FORMAT": "json",
            "TREADLE_CONTROLLER_OTLP_ENDPOINT": collector.endpoint,
            "TREADLE_CONTROLLER_OTLP_LOGS": "true",
            "TREADLE_CONTROLLER_TRACES_RATIO": "0.0",
        }
        arguments = ("--redis", server.url, "--nodes", NODES, "--state-dir", str(folder / "state"))
        with dev(folder, *arguments, **settings) as running:
            assert running.wfctl("apply", "-f", save(folder, document(folder / "book"))).code == 0
            yield World(running, collector)


def test_an_iteration_that_fails_once_is_told_afterwards_and_goes_on_as_parent_in_the_next_loop(world: World) -> None:
    world.push(ONCE)
    (root,) = [span for span in world.get("iteration shaky/work") if c.AFTERWARDS in span.attributes]
    trace = root.trace_id
    (execution,), (send,) = world.get("shaky", trace), world.get("send kept", trace)
    first, second = world.get("attempt 1", trace) + world.get("attempt 2", trace)
    (store,), (keep,) = world.get("iteration shaky/store", trace), world.get("keep", trace)

    assert root.attributes[c.AFTERWARDS] is True
    assert {first.parent, second.parent} == {execution.id}
    assert (first.raw.status.code, second.raw.status.code, execution.raw.status.code) == (2, 0, 0)
    assert (first.attributes[c.ATTEMPT], first.attributes[c.ERROR_TYPE]) == (1, "ValueError")
    (event,) = first.raw.events
    assert (event.name, values(event.attributes)[c.EXCEPTION_MESSAGE]) == ("exception", "4 does not work")
    (process,) = world.get("process numbers", trace)
    assert (execution.parent, process.parent, root.parent) == (process.id, root.id, b"")
    assert store.parent == send.id, "a loop that says so joins the trace that its message comes from"
    assert store.raw.flags & 0x300 == 0x300, "whose span was somebody else's"
    assert keep.trace_id == trace


def test_a_dead_letter_names_its_trace_and_a_replay_links_to_where_it_died(world: World) -> None:
    world.push(ALWAYS)
    listed = wait_until(lambda: world.dev.wfctl("dlq", "ls", "numbers", "-o", "json").json["deadLetters"], "it died")
    shown = world.dev.wfctl("dlq", "show", "numbers", listed[0]["id"]).out
    (died,) = world.dead(1)

    assert listed[0]["traceId"] == died.trace_id.hex()
    assert died.trace_id.hex() in shown
    (settled,) = world.get("settle numbers", died.trace_id)
    assert settled.attributes[c.MESSAGING_OPERATION_NAME] == "dead_letter"
    assert not world.named("send kept", died.trace_id), "what was not sent is not told"

    assert world.dev.wfctl("dlq", "replay", "numbers", "--all").code == 0
    _, again = world.dead(2)
    (received,) = world.get("receive numbers", again.trace_id)
    assert again.links == received.links == [died.id]
    assert again.trace_id != died.trace_id


def test_logs_have_the_ids_of_the_attempt_that_they_come_from(world: World) -> None:
    world.push(WELL, (c.TRACEPARENT, CLIENT.traceparent))
    said = f"number {WELL}, attempt 1"
    (record,) = world.collector.wait(
        lambda: [each for each in world.collector.logs if each.body.string_value == said], "the line of a library"
    )
    (root,) = world.get("iteration shaky/work", record.trace_id)
    (execution,) = world.get("shaky", record.trace_id)
    attributes = values(record.attributes)

    assert record.span_id == execution.id
    assert record.severity_text == "WARNING"
    assert (attributes[c.WORKFLOW], attributes[c.LOOP], attributes[c.NODE]) == ("shaky", "work", "shaky")
    assert attributes[c.ATTEMPT] == 1
    assert [link.trace_id for link in root.raw.links] == [CLIENT.trace_id.to_bytes(16, "big")]
    (line,) = [json.loads(one) for one in logs(world.dev.folder) if said in one]
    assert (line["trace_id"], line["span_id"]) == (record.trace_id.hex(), record.span_id.hex())
    assert (line["workflow"], line["loop"], line["node"], line["attempt"]) == ("shaky", "work", "shaky", 1)


def test_the_logs_of_agent_and_controller_come_too_with_the_calls_that_they_belong_to(world: World) -> None:
    trace = CLIENT.trace_id.to_bytes(16, "big")
    with grpc.insecure_channel(world.dev.address) as channel:
        queues = queue_service_pb2_grpc.QueueServiceStub(channel)
        request = queue_service_pb2.PurgeQueueRequest(name="kept")
        queues.PurgeQueue(request, metadata=((c.TRACEPARENT, CLIENT.traceparent),), timeout=20)
    assert world.collector.wait(
        lambda: [each for each in world.collector.logs if "agent ready" in each.body.string_value], "of the agent"
    )
    records = world.collector.wait(
        lambda: [each for each in world.collector.logs if each.trace_id == trace], "of the controller, about a call"
    )
    (call,) = world.get("treadle.v1.QueueService/PurgeQueue", trace)
    assert {each.span_id for each in records} == {call.id}


def test_whoever_reads_a_queue_from_outside_gets_trace_context_and_baggage_with_each_message(world: World) -> None:
    assert world.dev.wfctl("pause", "shaky/store").code == 0
    world.push(READ, (c.TRACEPARENT, CLIENT.traceparent), (c.BAGGAGE, "tenant=x"))
    with grpc.insecure_channel(world.dev.address) as channel:
        queues = queue_service_pb2_grpc.QueueServiceStub(channel)
        request = queue_service_pb2.PeekQueueRequest(name="kept", limit=1)
        (message,) = wait_until(lambda: queues.PeekQueue(request, timeout=20).messages, "it came through")
    headers = msgspec.msgpack.decode(message.headers)

    origin = read_origin(headers)
    assert origin is not None
    sends = world.get("send kept", origin.trace_id.to_bytes(16, "big"))
    assert [span.id for span in sends] == [origin.span_id.to_bytes(8, "big")]
    assert headers[c.BAGGAGE] == "tenant=x"
    assert world.dev.wfctl("resume", "shaky/store").code == 0
