"""Three loops in three pools on two agents, and what a collector gets of them, in part by way of another one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import grpc
import httpx
import msgspec
import pytest

from tests.acceptance.documents import ledger, save
from tests.acceptance.running import Dev, dev, environment
from tests.otlp import GotSpan, Receiver, receiver, values
from tests.require import Require
from tests.rotel import rotel
from tests.servers import redis_server
from treadle.telemetry import conventions as c
from treadle.telemetry.origin import Origin
from treadle.v1 import queue_service_pb2, queue_service_pb2_grpc

COUNT = 40


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(require: Require, collector: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Return a cluster that traces everything, with a workflow that has run to its end."""
    require.module("rotel")
    folder = tmp_path_factory.mktemp("traced")
    settings = {
        "TREADLE_AGENT_OTLP_ENDPOINT": collector.endpoint,
        "TREADLE_AGENT_OTLP_INTERVAL_S": "0.5",
        "TREADLE_AGENT_OTLP_LOGS": "true",
        "TREADLE_AGENT_TRACES__RATIO": "1.0",
        "TREADLE_AGENT_TRACES__PER_SECOND": "0",
        "TREADLE_AGENT_HTTP_LISTEN": "127.0.0.1:0",
        "TREADLE_CONTROLLER_OTLP_ENDPOINT": collector.endpoint,
        "TREADLE_CONTROLLER_OTLP_INTERVAL_S": "0.5",
        "TREADLE_CONTROLLER_TRACES_RATIO": "1.0",
        "TREADLE_CONTROLLER_TRACES_PER_SECOND": "0",
    }
    (folder / "rotel").mkdir()
    with (
        redis_server("valkey") as server,
        rotel(folder / "rotel", collector.endpoint) as forwarding,
        dev(folder, "--redis", server.url, **settings) as running,
    ):
        # What the second agent sends goes through a collector that others wrote.
        settings |= {"TREADLE_AGENT_OTLP_ENDPOINT": forwarding}
        second = {"TREADLE_AGENT_NAME": "second", "TREADLE_AGENT_LABELS": "zone=b", "TREADLE_AGENT_REDIS": server.url}
        with agent(running, {**settings, **second}, folder / "second.log"):
            document = ledger("traced", limit=COUNT)
            document["nodes"][2]["data"]["placement"] = {"labels": {"zone": "b"}}
            assert running.wfctl("apply", "-f", save(folder, document)).code == 0
            ends = ("settle traced-doubled", "iteration traced/move", "iteration traced/count", "insert")
            collector.wait(lambda: all(len(named(collector, end)) == COUNT for end in ends), "all is stored and told")
            yield running


@contextmanager
def agent(cluster: Dev, settings: dict[str, str], log: Path) -> Iterator[None]:
    """Run one more agent for the length of a block; it stops in order."""
    env = {**environment(), **settings, "TREADLE_AGENT_CONTROLLERS": cluster.address}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "treadle_agent"], env=env, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def spans(cluster: Dev, collector: Receiver) -> dict[bytes, GotSpan]:
    """Return all spans of loops by their ids."""
    return {span.id: span for span in collector.spans if c.LOOP in span.attributes}


def named(collector: Receiver, name: str) -> list[GotSpan]:
    return [span for span in collector.spans if span.name == name]


def test_each_message_is_one_connected_trace_from_its_producer_to_the_table(spans: dict[bytes, GotSpan]) -> None:
    sinks = [span for span in spans.values() if span.name == "insert"]
    assert len(sinks) == COUNT

    ways = [way(spans, sink) for sink in sinks]

    assert set(ways) == {
        (
            "insert",
            "process traced-doubled",
            "iteration traced/store",
            "send traced-doubled",
            "process traced-numbers",
            "iteration traced/move",
            "send traced-numbers",
            "iteration traced/count",
        )
    }
    origins = {first_of(spans, sink).id for sink in sinks}
    assert len(origins) == COUNT, "each comes from a producer's iteration of its own"


def way(spans: dict[bytes, GotSpan], span: GotSpan) -> tuple[str, ...]:
    """Return the names of the spans from one back to where it all began, over parents and links."""
    names = [span.name]
    while (before := span.parent or next(iter(span.links), b"")) != b"":
        span = spans[before]
        names.append(span.name)
    return tuple(names)


def first_of(spans: dict[bytes, GotSpan], span: GotSpan) -> GotSpan:
    while (before := span.parent or next(iter(span.links), b"")) != b"":
        span = spans[before]
    return span


def test_spans_say_by_the_conventions_what_they_are_and_where(spans: dict[bytes, GotSpan]) -> None:
    move = [span for span in spans.values() if span.attributes[c.LOOP] == "move"]
    process = next(span for span in move if span.name == "process traced-numbers")

    assert process.schema == c.SCHEMA_URL
    kinds = {span.name.split()[0]: span.raw.kind for span in move}
    assert (kinds["receive"], kinds["process"], kinds["send"], kinds["settle"]) == (3, 5, 4, 3)
    attributes = process.attributes
    assert attributes[c.MESSAGING_SYSTEM] == "treadle"
    assert attributes[c.MESSAGING_OPERATION_NAME] == attributes[c.MESSAGING_OPERATION_TYPE] == "process"
    assert attributes[c.MESSAGING_DESTINATION_NAME] == "traced-numbers"
    assert attributes[c.MESSAGING_CONSUMER_GROUP_NAME] == "traced/move"
    assert re.fullmatch(r"default/traced-numbers/\d+", attributes[c.MESSAGING_MESSAGE_ID])
    assert (attributes[c.WORKFLOW], attributes[c.LOOP], attributes[c.REPLICA] in (0, 1)) == ("traced", "move", True)
    assert process.resource[c.SERVICE_NAME] == "treadle-agent"
    assert process.resource[c.SERVICE_INSTANCE_ID] == "second"
    assert process.resource[c.PROCESS_PID] > 0


def test_the_loops_of_the_trace_ran_on_two_agents_in_three_pools(spans: dict[bytes, GotSpan]) -> None:
    iterations = [span for span in spans.values() if span.name.startswith("iteration ")]

    assert {span.resource[c.POOL] for span in iterations} == {"thread", "asyncio", "process"}
    assert {span.resource[c.SERVICE_INSTANCE_ID] for span in iterations} == {"dev-1", "second"}


def test_every_attribute_is_one_of_the_conventions_or_our_own(collector: Receiver, cluster: Dev) -> None:
    collector.wait(lambda: collector.points and collector.logs, "metrics and logs come too")
    used = {key for span in collector.spans for key in (*span.attributes, *span.resource)}
    used |= {key for *_, attributes, _ in collector.points for key in attributes}
    used |= {key for record in collector.logs for key in values(record.attributes)}
    ours = {value for name, value in vars(c).items() if name.isupper() and isinstance(value, str)}

    assert used <= ours
    assert {key for key in used if not key.startswith("treadle.")} <= official()


def official() -> set[str]:
    """Return the attribute names of OpenTelemetry's package of semantic conventions."""
    names: set[str] = set()
    for package in ("opentelemetry.semconv.attributes", "opentelemetry.semconv._incubating.attributes"):
        for found in iter_modules(import_module(package).__path__, f"{package}."):
            names |= {value for value in vars(import_module(found.name)).values() if isinstance(value, str)}
    return names


def test_assignments_are_traced_from_the_controller_to_the_first_execution(collector: Receiver, cluster: Dev) -> None:
    started = collector.wait(
        lambda: [span for span in collector.spans if span.name == "start traced/count"], "its start is told"
    )[0]
    (assigned,) = collector.wait(lambda: named(collector, "assign traced/count"), "its assignment is told")

    assert (started.parent, started.trace_id) == (assigned.id, assigned.trace_id)
    assert assigned.resource[c.SERVICE_NAME] == "treadle-controller"
    assert started.resource[c.SERVICE_NAME] == "treadle-agent"
    assert assigned.attributes[c.AGENT] == started.resource[c.AGENT]
    assert assigned.raw.start_time_unix_nano <= started.raw.start_time_unix_nano


CLIENT = Origin(0x1234_0000_0000_0000_0000_0000_0000_5678, 0xABCD)


@pytest.fixture(scope="module")
def foreign(collector: Receiver, cluster: Dev) -> Dev:
    """Have a client of its own push a message, in a trace of its own."""
    document = ledger("foreign", limit=0)
    document["nodes"][2]["data"]["placement"] = {"labels": {"zone": "b"}}
    document["nodes"][1]["data"]["external"] = document["nodes"][2]["data"]["external"] = True
    assert cluster.wfctl("apply", "-f", save(cluster.folder, document)).code == 0
    with grpc.insecure_channel(cluster.address) as channel:
        queues = queue_service_pb2_grpc.QueueServiceStub(channel)
        queues.PushQueue(
            queue_service_pb2.PushQueueRequest(
                name="foreign-numbers", payloads=[msgspec.msgpack.encode({"n": 1})], producer="test", sequence=1
            ),
            metadata=((c.TRACEPARENT, CLIENT.traceparent), (c.BAGGAGE, "tenant=x")),
            timeout=20,
        )

    collector.wait(lambda: named(collector, "settle foreign-doubled"), "it has come through")
    return cluster


def test_a_foreign_clients_trace_goes_on_through_push(collector: Receiver, foreign: Dev) -> None:
    call = collector.wait(lambda: named(collector, "treadle.v1.QueueService/PushQueue"), "the call is told")[-1]
    assert (call.trace_id, call.parent) == (CLIENT.trace_id.to_bytes(16, "big"), CLIENT.span_id.to_bytes(8, "big"))
    assert (call.raw.kind, call.attributes[c.RPC_RESPONSE_STATUS_CODE]) == (2, "OK")
    sends = collector.wait(lambda: named(collector, "send foreign-numbers"), "its message is told")
    send = next(span for span in sends if span.trace_id == call.trace_id)
    assert send.parent == call.id
    (process,) = collector.wait(lambda: named(collector, "process foreign-numbers"), "and who processed it")
    assert process.links == [send.id]


def test_metrics_come_from_agents_and_controller_with_the_true_counts(collector: Receiver, foreign: Dev) -> None:
    def count(service: str, name: str, **labels: str) -> float:
        """Return the most that a service ever told of some series, which may be gone by now: their loop is over."""
        wanted = {names[key]: value for key, value in labels.items()}
        told = (
            point
            for service_, name_, has, point in collector.points
            if (service_, name_) == (service, name) and wanted.items() <= has.items()
        )
        return max((point.count if hasattr(point, "count") else point.as_int for point in told), default=-1)

    names = {
        "loop": c.LOOP,
        "node": c.NODE,
        "workflow": c.WORKFLOW,
        "queue": c.MESSAGING_DESTINATION_NAME,
        "outcome": c.OUTCOME,
    }

    def told() -> bool:
        return (
            count("treadle-agent", "treadle.loop.committed_iterations", workflow="foreign", loop="store") == 1
            and count("treadle-controller", "treadle.loop.committed_iterations", **store) == COUNT
            and count("treadle-controller", "treadle.queue.committed", queue="traced-doubled") == COUNT
        )

    store, insert = {"workflow": "traced", "loop": "store"}, {"workflow": "foreign", "node": "insert"}
    collector.wait(told, "both tell what was committed")
    assert count("treadle-agent", "treadle.node.executions", **insert) == 1
    assert count("treadle-agent", "treadle.node.attempts", **insert, outcome="succeeded") == 1
    assert count("treadle-agent", "treadle.node.attempts", **insert, outcome="failed") == 0
    assert count("treadle-agent", "treadle.node.duration", **insert) == 1
    assert count("treadle-controller", "treadle.queue.pushed", queue="traced-numbers") == COUNT


@pytest.mark.requires("promtool")
def test_promtool_finds_nothing_wrong_with_the_page_of_an_agent(foreign: Dev) -> None:
    log = (foreign.folder / "second.log").read_text()
    address = re.search(r"metrics on (http://\S+)", log)
    assert address is not None, log
    page = httpx.get(address[1]).text

    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert re.search(r'^treadle_loop_committed_iterations_total\{.*loop="move".*\} [1-9]', page, re.MULTILINE)
