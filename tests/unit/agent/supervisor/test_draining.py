from __future__ import annotations

from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import Input, Plan, Step
from treadle_agent.frames import Address
from treadle_agent.supervisor.draining import order_of_draining
from treadle_agent.supervisor.reconcile import assign, begin
from treadle_agent.supervisor.record import Desired, Record, Run, Wanted


def running(loop: str, reads: str, writes: str) -> Record:
    first = Step("in", "queue-reader", queues=tuple(reads)) if reads else Step("in", "producer", uses="generate")
    pushes = [Step(f"out-{queue}", "queue", queue=queue, inputs=(Input(0, None, "in"),)) for queue in writes]
    plan = Plan("w", loop, (first, *pushes), digest="d")
    record = Record(Address("ns", LoopKey("w", loop)))
    assign(record, Wanted(record.address, 1, 1, 1, Desired.RUNNING, 0, plan, b""))
    begin(record, Run(1, 1, 0))
    return record


def drain_all(*records: Record) -> list[str]:
    waves = []
    while wave := order_of_draining(records):
        waves.append("".join(sorted(record.address.key.loop for record in wave)))
        for record in wave:
            record.run = None
    return waves


def test_producers_go_first_then_their_readers_and_so_on() -> None:
    assert drain_all(running("c", "y", ""), running("b", "x", "y"), running("a", "", "x")) == ["a", "b", "c"]


def test_a_reader_that_nobody_here_feeds_goes_at_once() -> None:
    assert drain_all(running("a", "", "x"), running("b", "elsewhere", "")) == ["ab"]


def test_loops_on_a_cycle_go_together() -> None:
    assert drain_all(running("a", "y", "x"), running("b", "x", "y")) == ["ab"]


def test_a_loop_that_feeds_itself_waits_for_nobody() -> None:
    assert drain_all(running("a", "x", "x")) == ["a"]
