"""Iterations that run in bursts do what those do that are timed one by one: the same effects, messages and figures."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from tests.unit.loop.small import By, From, Small, Started, StatefulBy
from treadle import EndIteration, Idle, LoopComplete, NodeData, Permanent, Route
from treadle.loop import tally
from treadle.loop.stats import LoopSnapshot, LoopStats
from treadle.loop.tally import Tally
from treadle.queues.codec import decode_item, encode_item
from treadle.workflow.plan import RetryPolicy

MESSAGES = 120
TOO_LARGE = "x" * 1024 * 1024
# What a node may do with a message, and how often.
DOINGS = {
    "plain": 60,
    "same": 20,
    "none": 4,
    "headers": 2,
    "route": 1,
    "list": 2,
    "end": 1,
    "raise": 3,
    "retry": 3,
    "push": 3,
    "effect": 3,
    "state": 3,
    "bad output": 1,
    "cannot be encoded": 1,
    "too large": 1,
}


@contextmanager
def bursts(*, always: bool) -> Iterator[None]:
    """Have every iteration count as quick, or none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "QUICK_NS", 1 << 62 if always else 0)
        yield


class Act:
    """What the nodes of a loop do: always the same for the same message, and written down."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.log: list[Any] = []
        self.life = ""
        self.tried: set[tuple[str, int]] = set()

    def __call__(self, node: By, data: NodeData) -> Any:
        name, n = node.context.node, data["n"]
        dice = random.Random(f"{self.seed} {name} {n}")
        what = dice.choices(list(DOINGS), list(DOINGS.values()))[0]
        self.log.append((name, n, what, node.context.message_id, node.context.attempt))
        return self.do(node, data, what)

    def do(self, node: By, data: NodeData, what: str) -> Any:  # noqa: C901, PLR0912 - one line each
        name, n = node.context.node, data["n"]
        match what:
            case "same":
                return data
            case "none":
                return None
            case "headers":
                return NodeData({"n": n}, {"tenant": "y"})
            case "route":
                return Route("nowhere", {"n": n})
            case "list":
                return [{"n": n}, {"n": n}]
            case "end":
                return EndIteration()
            case "raise":
                raise Permanent(f"{n}")
            case "retry" if (name, n) not in self.tried:
                self.tried.add((name, n))
                node.queue_manager.push("side", {"dropped": n})
                raise ValueError(n)
            case "push":
                node.queue_manager.push("side", {"n": n})
            case "effect":
                self.log.append(node.context.effect_id.replace(self.life, "life"))
            case "state":
                node.state["n"] = n
            case "bad output":
                return 7
            case "cannot be encoded" if node.context.message_id:  # without a message the loop would fail
                return {"n": n, "what": object()}
            case "too large" if node.context.message_id:
                return {"n": n, "text": TOO_LARGE}
        return {"n": n}


def produced(seed: int) -> Iterator[Any]:
    """Return what a producer gives out: mappings mostly."""
    dice = random.Random(seed)
    for n in range(MESSAGES):
        kind = dice.choices(["dict", "data", "list", "none", "idle"], [80, 10, 2, 1, 1])[0]
        one = {"n": n}
        yield {"dict": one, "data": NodeData(one), "list": [one, one], "none": None, "idle": Idle(0.0)}[kind]


def messages(seed: int) -> list[bytes]:
    """Return what is in the queue: some with headers, some that are no messages."""
    dice = random.Random(seed)
    items = []
    for n in range(MESSAGES):
        kind = dice.choices(["plain", "headers", "bad"], [30, 3, 1])[0]
        items.append(b"\xc1" if kind == "bad" else encode_item({"n": n}, {"a": "b"} if kind == "headers" else None))
    return items


def life(seed: int, nodes: int, *, fed: bool, exhausted: str, always: bool) -> Any:
    """Run a loop to its end and return all that anybody can see of it."""
    act = Act(seed)
    small = Small(
        None if fed else From(produced(seed)),
        tuple(StatefulBy(act) for _ in range(nodes)),
        push_queues=("side",),
        retry=RetryPolicy(max_attempts=2, initial_backoff_s=0.0, on_exhausted=exhausted),  # type: ignore[arg-type]
    )
    if fed:
        small.host.enter_writers({"in": ()})
        small.host.push("in", messages(seed))
    with bursts(always=always):
        manager, tenure = small.open()
        act.life = tenure.life
        outcome = manager.run()
    queues = {name: list(map(decode_item, small.host.peek(name))) for name in ("out", "side")}
    letters = [(letter.number, letter.item, letter.reason["error"]) for letter in small.host.queue("in").dead]
    state = small.open()[1].state
    return outcome.kind, act.log, queues, letters, state, tenure.committed, counted(manager.stats())


def counted(stats: LoopSnapshot) -> Any:
    """Return the figures, durations only by their number."""
    nodes = [(each.node, each.executions, sum(each.durations), each.failures, each.health) for each in stats.nodes]
    sums = stats.committed, stats.iterations, stats.idle_ticks, stats.errors, stats.retries, stats.dead_letters
    assert all(count >= 0 for each in stats.nodes for count in each.durations)
    return sums, sum(stats.durations), nodes


@pytest.mark.parametrize("fed", [True, False], ids=["queue", "producer"])
@with_settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), nodes=st.integers(0, 3))
def test_a_burst_does_what_iterations_do_one_by_one(fed: bool, seed: int, nodes: int) -> None:
    lives = [life(seed, nodes, fed=fed, exhausted="skip", always=always) for always in (False, True)]
    assert lives[0] == lives[1]


@with_settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), nodes=st.integers(1, 3))
def test_a_burst_makes_the_same_dead_letters(seed: int, nodes: int) -> None:
    lives = [life(seed, nodes, fed=True, exhausted="dead-letter", always=always) for always in (False, True)]
    assert lives[0] == lives[1]
    assert lives[0][0] == "completed"


@pytest.mark.parametrize("fed", [False, True])
def test_quick_iterations_run_in_bursts(monkeypatch: pytest.MonkeyPatch, fed: bool) -> None:
    lengths: list[int] = []
    burst = Tally.burst

    def note(self: Tally, done: int, took: int, reached: int) -> None:
        lengths.append(done)
        burst(self, done, took, reached)

    monkeypatch.setattr(Tally, "burst", note)
    life(3, 2, fed=fed, exhausted="dead-letter" if fed else "skip", always=True)

    assert sum(lengths) > MESSAGES // 10


@pytest.mark.parametrize("raised_at", range(1, 20))
def test_a_drain_ends_a_burst_with_the_iteration_under_way(raised_at: int) -> None:
    calls: list[int] = []

    def work(node: By, data: NodeData) -> Any:
        calls.append(data["n"])
        if len(calls) == raised_at:
            manager.drain()
        return data

    small = Small(nodes=(By(work),))
    small.host.push("in", [encode_item({"n": n}) for n in range(100)])
    with bursts(always=True):
        manager, tenure = small.open()
        assert manager.run().kind == "drained"
    assert (calls, tenure.committed) == (list(range(raised_at)), raised_at)


@pytest.mark.parametrize(
    ("settings", "most"),
    [({"max_in_flight": 1}, 1), ({"max_in_flight": 7}, 7), ({"max_in_flight_bytes": 4500}, 5)],
)
def test_a_burst_runs_no_further_ahead_of_the_commit_than_it_may(settings: dict[str, int], most: int) -> None:
    in_flight: list[int] = []

    def work(_: From) -> Any:
        in_flight.append(tenure.in_flight + 1)
        return {"text": "x" * 1000} if len(in_flight) < 50 else LoopComplete()

    small = Small(From(work), settings=settings)
    small.host.hold()
    with bursts(always=True):
        manager, tenure = small.open()
        started = Started(manager)
        while len(in_flight) < 50:
            if not tenure.has_room:
                small.host.release(3)
            started.thread.join(0.001)
        small.host.release()
        assert started.outcome().kind == "completed"
    assert max(in_flight) == most


def tally_of(nodes: int) -> tuple[LoopStats, Tally]:
    """Return the figures of so many nodes and what counts bursts in them."""
    stats = LoopStats([f"n{at}" for at in range(nodes)])
    stats.begin()
    return stats, Tally(stats, [10, 13, 11][:nodes])


def test_bursts_grow_while_iterations_are_quick_and_end_with_the_first_that_is_not() -> None:
    _, one = tally_of(1)
    lengths = [one.timed(1000) for _ in range(8)]
    assert lengths == [1, 3, 7, 15, 31, 63, 127, 128]
    assert [one.timed(tally.QUICK_NS), one.timed(1000)] == [0, 1]


def test_a_burst_takes_no_longer_than_a_turn() -> None:
    _, one = tally_of(1)
    lengths = [one.timed(20_000) for _ in range(8)]
    assert lengths == [1, 3, 7, 15, 31, 40, 40, 40]


def test_one_slow_iteration_of_a_burst_is_counted_as_one_slow_execution() -> None:
    stats, one = tally_of(3)
    one.timed(2000)
    one.burst(10, 10 * 2000 + 1_000_000, 0)
    assert stats.durations[(1_000_000).bit_length()] == 1
    assert stats.durations[(2000).bit_length()] == 9
    assert [sum(node.durations) for node in stats.nodes] == [10, 10, 10]
    assert stats.nodes[1].durations[(1_000_000).bit_length()] == 1  # the node that usually takes longest


def test_an_even_burst_is_counted_by_its_mean() -> None:
    stats, one = tally_of(2)
    one.timed(2000)
    one.skipped[0] = 4
    one.burst(10, 30_000, 1)
    assert stats.durations[(3000).bit_length()] == 10
    assert [node.durations[bucket] for node, bucket in zip(stats.nodes, (10, 13), strict=True)] == [11, 6]
