"""A collector that is away: work goes on, nothing piles up, and what is lost is counted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest

from tests.integration.agent.plans import counting
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.otlp import Receiver, receiver

LOST = 'treadle_telemetry_dropped_total{signal="traces"}'
SENT = 'treadle_telemetry_sent_total{signal="traces"}'
WAITING = "treadle_telemetry_waiting_bytes"


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def agent(collector: Receiver, start_agent: Callable[..., AgentProcess]) -> AgentProcess:
    collector.refuse = grpc.StatusCode.UNAVAILABLE
    return start_agent(
        TREADLE_AGENT_OTLP_ENDPOINT=collector.endpoint,
        TREADLE_AGENT_OTLP_INTERVAL_S="0.5",
        TREADLE_AGENT_TRACES__RATIO="1.0",
        TREADLE_AGENT_HTTP_LISTEN="127.0.0.1:0",
    )


def page(agent: AgentProcess) -> dict[str, float]:
    """Return the series of the agent's own page."""
    address = re.search(r"metrics on (http://[\d.:]+/metrics)", agent.text())
    assert address is not None, agent.text()
    samples = re.findall(r"^(treadle_\S+) (\S+)$", httpx.get(address[1]).text, re.MULTILINE)
    return {name: float(value) for name, value in samples}


def test_traces_are_not_recorded_while_their_collector_is_away_and_are_when_it_is_back(
    controller: ScriptedController, agent: AgentProcess, collector: Receiver
) -> None:
    controller.assign(counting("traced", "thread", "traced"))
    controller.wait_state("traced", "RUNNING")
    before = controller.wait(lambda: (now := page(agent))[LOST] > 50 and now, "what is lost is counted")
    committed = controller.statuses["traced"].committed

    after = controller.wait(lambda: (now := page(agent))[LOST] > before[LOST] + 100 and now, "more is lost")

    assert after[WAITING] <= before[WAITING], "and it does not wait anywhere"
    controller.wait(lambda: controller.statuses["traced"].committed > committed, "work goes on")
    back = time.time_ns()
    collector.refuse = None
    collector.wait(lambda: any(span.raw.start_time_unix_nano > back for span in collector.spans), "traces come again")
    assert page(agent)[SENT] > 0
