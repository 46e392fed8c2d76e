"""A node that fails is tried again while its iteration waits: what is undone, what stays, and what comes in the end."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.loop.small import KEY, QUICKLY, By, From, Small, Started, StatefulBy
from treadle import LoopComplete, LoopStopping, NodeData, Permanent, Retry
from treadle.clock import DrivenClock
from treadle.loop import Health
from treadle.queues.codec import decode, encode_item
from treadle.queues.memory import MemoryHost
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import RetryPolicy


def fails(times: int, then: Any = lambda _, data: data, *, error: Any = ValueError) -> Any:
    """Return work that raises so many times in all, and then works."""
    left = [times]

    def work(node: Any, data: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return then(node, data)

    return work


def fed(*nodes: Any, messages: int = 3, **settings: Any) -> Small:
    """Return a loop that a queue feeds, which ends after its messages."""
    small = Small(nodes=nodes, **settings)
    small.host.enter_writers({"in": ()})
    small.host.push("in", [encode_item({"n": n}, {"tenant": "x"}) for n in range(messages)])
    return small


def letters(small: Small, queue: str = "in") -> list[Any]:
    return [(letter.number, decode(letter.item)) for letter in small.host.queue(queue).dead]


def test_order_is_kept_because_the_iteration_waits() -> None:
    small = fed(By(fails(2)))
    manager, _ = small.open()
    assert manager.run().kind == "completed"
    assert small.out() == [{"n": 0}, {"n": 1}, {"n": 2}]
    stats = manager.stats()
    assert (stats.retries, stats.errors, stats.committed) == (2, 0, 3)
    assert (stats.nodes[1].executions, stats.nodes[1].failures, stats.nodes[1].health) == (3, 2, Health.HEALTHY)


@pytest.mark.parametrize("as_task", [False, True])
def test_what_is_exhausted_becomes_a_dead_letter_and_the_loop_goes_on(as_task: bool) -> None:
    small = fed(By(lambda _, data: 1 / 0 if data["n"] == 1 else data))
    manager, tenure = small.open()
    outcome = asyncio.run(manager.run_async()) if as_task else manager.run()
    assert outcome.kind == "completed"
    assert small.out() == [{"n": 0}, {"n": 2}]
    [letter] = small.host.queue("in").dead
    assert (letter.number, decode(letter.item)) == (2, [{"n": 1}, {"tenant": "x", "origin": "ns/in/2"}])
    reason = letter.reason
    assert (reason["error"], reason["type"], reason["node"], reason["attempts"]) == (
        "exception",
        "ZeroDivisionError",
        "n1",
        3,
    )
    assert reason["iteration"].startswith(f"ns/w/l/0/{tenure.life}.")
    assert "division by zero" in reason["traceback"]
    stats = manager.stats()
    assert (stats.dead_letters, stats.errors, stats.retries, stats.committed) == (1, 1, 2, 3)
    assert [(each.error.attempts, each.input) for each in stats.incidents] == [(n, "{'n': 1}") for n in (1, 2, 3)]


def test_an_attempt_sees_its_number_in_its_headers_and_context_and_nobody_else_does() -> None:
    seen: list[Any] = []

    def note(node: Any, data: Any) -> Any:
        seen.append((node.context.node, node.context.attempt, data.headers["attempt"]))
        if node.context.node == "n1" and data.headers["attempt"] < 3:
            raise ValueError
        return data

    small = fed(By(note), By(note), messages=1)
    assert small.run().kind == "completed"
    assert seen == [("n1", 1, 1), ("n1", 2, 2), ("n1", 3, 3), ("n2", 1, 1)]
    assert decode(small.host.peek("out")[0]) == [{"n": 0}, {"tenant": "x"}]


def test_a_failed_attempt_undoes_its_own_part_only() -> None:
    def first(node: Any, data: Any) -> Any:
        node.state["first"] = data["n"]
        node.queue_manager.push("side", {"by": "first"})
        return data

    def second(node: Any, data: Any) -> Any:
        node.state["tried"] = node.state.get("tried", 0) + 1
        popped = node.queue_manager.pop("extra", 0)
        node.queue_manager.push("side", {"by": "second", "extra": popped["e"]})
        if node.context.attempt < 3:
            raise ValueError
        return data

    small = fed(StatefulBy(first), StatefulBy(second), messages=2, push_queues=("side",), pop_queues=("extra",))
    small.host.push("extra", [encode_item({"e": e}) for e in range(3)])
    assert small.run().kind == "completed"
    side = [decode(item)[0] for item in small.host.peek("side")]
    assert side == [{"by": "first"}, {"by": "second", "extra": 0}, {"by": "first"}, {"by": "second", "extra": 1}]
    state = small.host.loops[KEY].state
    assert (decode(state["n1"]["first"]), decode(state["n2"]["tried"])) == (1, 2)
    assert [decode(item)[0] for item in small.host.peek("extra")] == []  # leased by the loop until it ends
    assert small.host.queue("extra").depth == 1


def test_a_dead_letter_takes_everything_along_that_the_iteration_popped() -> None:
    def work(node: Any, data: Any) -> Any:
        node.queue_manager.pop("extra", 0)
        node.queue_manager.push("side", {})
        raise ValueError

    small = fed(By(work), messages=1, push_queues=("side",), pop_queues=("extra",))
    small.host.push("extra", [encode_item({"e": 1}), encode_item({"e": 2})])
    assert small.run().kind == "completed"
    assert letters(small) == [(1, [{"n": 0}, {"tenant": "x", "origin": "ns/in/1"}])]
    assert letters(small, "extra") == [(1, [{"e": 1}, {"origin": "ns/extra/1"}])]
    ids = {letter.reason["iteration"] for name in ("in", "extra") for letter in small.host.queue(name).dead}
    assert len(ids) == 1
    assert small.host.queue("side").depth == 0


def test_in_a_list_only_the_failed_item_is_tried_again() -> None:
    def work(node: Any, data: Any) -> Any:
        node.state["sum"] = node.state.get("sum", 0) + data["i"]
        node.queue_manager.push("side", {"i": data["i"]})
        if data["i"] == 2 and node.context.attempt == 1:
            raise ValueError
        return data

    small = Small(From(iter([[{"i": i} for i in range(4)]])), (StatefulBy(work),), push_queues=("side",), retry=QUICKLY)
    assert small.run().kind == "completed"
    assert [decode(item)[0]["i"] for item in small.host.peek("side")] == [0, 1, 2, 3]
    assert decode(small.host.loops[KEY].state["n1"]["sum"]) == 6
    assert small.out() == [{"i": i} for i in range(4)]


def test_effect_ids_are_the_same_in_every_attempt() -> None:
    ids: list[str] = []

    def work(node: Any, data: Any) -> Any:
        ids.append(node.context.effect_id)
        if node.context.attempt == 1:
            raise ValueError
        return data

    assert fed(By(work), messages=2).run().kind == "completed"
    assert ids == ["ns/in/1#n1#1"] * 2 + ["ns/in/2#n1#1"] * 2


def test_an_error_edge_gets_the_input_and_the_error() -> None:
    small = fed(By(lambda _, data: 1 / 0 if data["n"] == 1 else data), By(lambda _, data: data), messages=2)
    plan = small.plan()
    first, failing, caught, out = plan.steps
    caught = replace(caught, inputs=(replace(caught.inputs[0], handle="error"),))
    out = replace(out, inputs=(replace(out.inputs[0], source=1), replace(out.inputs[0], source=2)), join="any")
    small.plan = lambda: replace(plan, steps=(first, replace(failing, catches=True), caught, out))  # type: ignore[method-assign]
    assert small.run().kind == "completed"
    good, bad = small.out()
    assert (good, bad["input"]) == ({"n": 0}, {"n": 1})
    error = {
        "code": "exception",
        "type": "ZeroDivisionError",
        "message": "division by zero",
        "node": "n1",
        "attempts": 3,
    }
    assert bad["error"] == error


@pytest.mark.parametrize(
    ("on_exhausted", "kind"),
    [("fail-loop", "failed"), ("restart-loop", "failed"), ("stop-workflow", "failed"), ("skip", "completed")],
)
def test_the_author_says_what_becomes_of_an_exhausted_execution(on_exhausted: Any, kind: str) -> None:
    small = fed(By(fails(3)), retry=replace(QUICKLY, on_exhausted=on_exhausted))
    outcome = small.run()
    assert (outcome.kind, outcome.on_exhausted) == (kind, on_exhausted if kind == "failed" else None)
    assert small.out() == ([] if kind == "failed" else [{"n": 1}, {"n": 2}])
    assert letters(small) == []


def test_a_producer_is_tried_again_and_its_loop_restarts_in_the_end() -> None:
    small = Small(From(lambda node: fails(2, lambda *_: {"n": 1})(node, None)))
    outcome = small.run()
    assert outcome.error is not None
    assert (outcome.kind, outcome.on_exhausted, outcome.error.attempts) == ("failed", "restart-loop", 3)
    left = [2, 0]

    def produce(_: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError
        left[1] += 1
        return {"n": left[1]} if left[1] < 3 else LoopComplete()

    small = Small(From(produce))
    assert small.run().kind == "completed"
    assert small.out() == [{"n": 1}, {"n": 2}]


def test_a_producer_that_is_skipped_had_no_work() -> None:
    outputs = iter([ValueError(), {"n": 1}])

    def produce(_: Any) -> Any:
        output = next(outputs, LoopComplete())
        if isinstance(output, Exception):
            raise output
        return output

    small = Small(From(produce), retry=RetryPolicy(max_attempts=1, on_exhausted="skip"))
    manager, _ = small.open()
    assert manager.run().kind == "completed"
    assert (small.out(), manager.stats().idle_ticks, manager.stats().errors) == ([{"n": 1}], 1, 1)


def test_a_drain_ends_the_wait_for_the_next_attempt_and_the_message_stays() -> None:
    failed = threading.Event()

    def work(*_: Any) -> Any:
        failed.set()
        raise Retry(after=3600)

    small = fed(By(work), retry=RetryPolicy(max_elapsed_s=None))
    manager, tenure = small.open()
    started = Started(manager)
    assert failed.wait(10)
    while (activity := manager.activity()) is None or activity.again_at is None:
        threading.Event().wait(0.001)
    assert (activity.node, activity.attempt) == ("n1", 1)
    manager.drain()
    assert started.outcome().kind == "drained"
    small.host.forget(tenure)
    assert small.host.figures("in")[:1] == (3,)
    assert letters(small) == []


def test_backoff_is_waited_for_on_the_loops_clock() -> None:
    clock = DrivenClock()
    times: list[float] = []
    tried = threading.Event()

    def work(_: Any, data: Any) -> Any:
        times.append(clock.monotonic())
        tried.set()
        if len(times) < 3:
            raise ValueError
        return data

    policy = RetryPolicy(jitter="none", initial_backoff_s=10)
    started = Started(
        fed(By(work), messages=1, clock=clock, host=MemoryHost("ns", clock=clock), retry=policy).open()[0]
    )
    assert tried.wait(10)
    while started.thread.is_alive():
        clock.advance(0.5)
        started.thread.join(0.001)
    assert started.outcome().kind == "completed"
    assert times[1] - times[0] >= 10
    assert times[2] - times[1] >= 20


def test_errors_that_cannot_be_shown_are_told_all_the_same() -> None:
    class Shy(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Odd(Exception):
        pass

    small = fed(
        By(fails(1, error=Shy())),
        By(fails(1, error=Odd("\ud800" * 9000))),
        messages=2,
        retry=RetryPolicy(max_attempts=1),
    )
    assert small.run().kind == "completed"
    messages = [letter.reason["message"] for letter in small.host.queue("in").dead]
    assert messages[0] == "it can't be shown: RuntimeError"
    assert len(messages[1]) < 5000
    assert messages[1].encode()


def test_an_error_does_not_drag_the_earlier_attempts_along() -> None:
    small = fed(By(lambda *_: 1 / 0), messages=1)
    small.run()
    assert small.host.queue("in").dead[0].reason["traceback"].count("ZeroDivisionError") == 1


def test_permanent_is_not_tried_again() -> None:
    small = fed(By(fails(9, error=Permanent("no such customer"))), messages=1)
    small.run()
    assert [letter.reason["attempts"] for letter in small.host.queue("in").dead] == [1]


def test_three_failed_attempts_in_a_row_make_a_node_failing_and_one_success_heals_it() -> None:
    health: list[Health] = []

    def work(_: Any, data: Any) -> Any:
        health.append(manager.stats().nodes[1].health)
        if len(health) in {2, 3, 4, 5, 7}:
            raise ValueError
        return data

    manager, _ = fed(By(work), retry=replace(QUICKLY, max_attempts=9), messages=3).open()
    assert manager.run().kind == "completed"
    assert [str(each) for each in health] == [
        "idle",
        "healthy",
        "healthy",
        "healthy",
        "failing",
        "failing",
        "healthy",
        "healthy",
    ]
    assert manager.stats().nodes[1].health is Health.HEALTHY


def test_finish_is_tried_again_and_fails_the_loop_when_there_is_nothing_to_keep() -> None:
    class Flushes(By):
        calls = 0

        def finish(self) -> Any:
            self.calls += 1
            if self.calls < self.works_at:
                raise ValueError
            return {"left": self.calls}

        works_at = 3

    small = fed(Flushes(lambda *_: None), messages=1)
    assert small.run().kind == "completed"
    assert small.out() == [{"left": 3}]
    never = Flushes(lambda *_: None)
    never.works_at = 9
    outcome = fed(never, messages=1).run()
    assert (outcome.kind, outcome.on_exhausted) == ("failed", "fail-loop")


def test_dead_letters_count_as_commits_so_that_ids_stay_unique() -> None:
    small = fed(By(lambda _, data: 1 / 0), messages=3, retry=RetryPolicy(max_attempts=1))
    manager, tenure = small.open()
    assert manager.run().kind == "completed"
    assert len({letter.reason["iteration"] for letter in small.host.queue("in").dead}) == 3
    assert small.host.loops[LoopKey("w", "l")].iteration == 3
    assert tenure.in_flight == 0


def test_a_wait_of_a_node_that_the_drain_ended_is_no_failure() -> None:
    waiting = threading.Event()

    def work(node: Any, data: NodeData) -> Any:
        waiting.set()
        return node.queue_manager.pop("extra")

    small = fed(By(work), pop_queues=("extra",))
    manager, _ = small.open()
    started = Started(manager)
    assert waiting.wait(10)
    manager.drain()
    assert started.outcome().kind == "drained"
    assert (manager.stats().errors, LoopStopping.code) == (0, "loop-stopping")


def test_the_rest_of_a_graph_goes_on_after_a_retry_and_is_given_up_as_a_whole() -> None:
    def spread(_: Any, data: Any) -> Any:
        return [data, data]

    def work(node: Any, data: Any) -> Any:
        if data["n"] == 1 or (data["n"] == 2 and node.context.attempt < 3):
            raise ValueError
        return data

    small = fed(By(spread), By(work))
    manager, _ = small.open()
    assert manager.run().kind == "completed"
    assert small.out() == [{"n": 0}, {"n": 0}, {"n": 2}, {"n": 2}]
    assert letters(small) == [(2, [{"n": 1}, {"tenant": "x", "origin": "ns/in/2"}])]
    assert manager.stats().nodes[2].executions == 5
