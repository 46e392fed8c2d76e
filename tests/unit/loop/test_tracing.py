"""What is recorded of iterations that are traced, and that those that are not don't change."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from opentelemetry.trace import get_current_span

from tests.unit.loop.small import By, From, Small
from treadle.loop.tracing import Tracing
from treadle.queues.codec import decode, decode_item, encode_item
from treadle.telemetry import conventions as c
from treadle.telemetry.origin import Origin, read_origin
from treadle.telemetry.sampling import Budget, Sampler
from treadle.telemetry.span import Kind, Span

FOREIGN = Origin(0xABC, 0xDEF)


class Traced:
    """Runs a small loop with tracing and keeps its spans."""

    def __init__(self, small: Small, ratio: float = 1.0, per_second: int = 0, *, parented: bool = False) -> None:
        self.spans: list[Span] = []
        self.small = small
        tracing = Tracing.of(ratio, per_second, self.spans.extend)
        self.mute = tracing.mute
        if parented:
            small.settings["tracing"] = "parent"
        self.manager, self.tenure = small.open(tracing=tracing)

    def run(self, *, as_task: bool = False) -> Traced:
        outcome = asyncio.run(self.manager.run_async()) if as_task else self.manager.run()
        assert outcome.kind in ("completed", "failed"), outcome
        return self

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        [span] = self.named(name)
        return span

    def carried(self, queue: str = "out") -> list[Any]:
        return [decode_item(item)[1] for item in self.small.host.peek(queue)]


def fed(*nodes: Any, headers: dict[str, Any] | None = None, messages: int = 1, **settings: Any) -> Small:
    small = Small(nodes=nodes, **settings)
    small.host.enter_writers({"in": ()})
    small.host.push("in", [encode_item({"n": n}, headers) for n in range(messages)])
    return small


def fails(times: int) -> Any:
    left = [times]

    def work(_: Any, data: Any) -> Any:
        if left[0]:
            left[0] -= 1
            message = "not yet"
            raise ValueError(message)
        return data

    return work


def as_it_is(_: Any, data: Any) -> Any:
    return data


@pytest.mark.parametrize("as_task", [False, True])
def test_an_iteration_is_a_tree_of_what_it_received_executed_sent_and_settled(as_task: bool) -> None:
    traced = Traced(fed(By(as_it_is), By(as_it_is))).run(as_task=as_task)

    root, process = traced.one("iteration w/l"), traced.one("process in")
    assert {span.name for span in traced.spans} == {
        "iteration w/l", "receive in", "process in", "n1", "n2", "send out", "settle in",
    }  # fmt: skip
    parents = {span.name: span.parent_id for span in traced.spans}
    assert parents == {
        "iteration w/l": 0,
        "receive in": root.span_id,
        "process in": root.span_id,
        "settle in": root.span_id,
        "n1": process.span_id,
        "n2": process.span_id,
        "send out": process.span_id,
    }
    kinds = {span.name: span.kind for span in traced.spans}
    assert (kinds["receive in"], kinds["process in"]) == (Kind.CLIENT, Kind.CONSUMER)
    assert (kinds["send out"], kinds["settle in"]) == (Kind.PRODUCER, Kind.CLIENT)
    assert process.attributes[c.MESSAGING_MESSAGE_ID] == "ns/in/1"
    assert all(root.start <= span.start <= span.end <= root.end for span in traced.spans)


def test_a_message_carries_the_context_of_the_span_that_sent_it() -> None:
    traced = Traced(fed(By(as_it_is), messages=2)).run()

    assert [read_origin(each) for each in traced.carried()] == [span.origin for span in traced.named("send out")]


def test_an_iteration_links_to_where_its_message_comes_from_and_is_a_trace_of_its_own() -> None:
    traced = Traced(fed(By(as_it_is), headers={c.TRACEPARENT: FOREIGN.traceparent})).run()

    root = traced.one("iteration w/l")
    assert (root.links, root.parent_id) == ((FOREIGN,), 0)
    assert root.trace_id != FOREIGN.trace_id
    assert traced.one("process in").links == traced.one("receive in").links == (FOREIGN,)


def test_an_iteration_is_a_part_of_the_trace_that_its_message_comes_from_when_the_loop_says_so() -> None:
    headers = {c.TRACEPARENT: FOREIGN.traceparent, c.TRACESTATE: "vendor=1", c.BAGGAGE: "tenant=x"}
    traced = Traced(fed(By(as_it_is), headers=headers), parented=True).run()

    root = traced.one("iteration w/l")
    assert (root.trace_id, root.parent_id, root.remote_parent) == (FOREIGN.trace_id, FOREIGN.span_id, True)
    assert {span.trace_id for span in traced.spans} == {FOREIGN.trace_id}
    [carried] = traced.carried()
    assert (carried[c.TRACESTATE], carried[c.BAGGAGE]) == ("vendor=1", "tenant=x")


def test_a_message_that_is_traced_is_gone_on_with_although_nothing_is_begun() -> None:
    small = fed(By(as_it_is), messages=3)
    small.host.push("in", [encode_item({"n": 3}, {c.TRACEPARENT: FOREIGN.traceparent})])
    small.host.push("in", [encode_item({"n": 4}, {c.TRACEPARENT: FOREIGN._replace(sampled=False).traceparent})])
    traced = Traced(small, ratio=0.0).run()

    assert traced.one("iteration w/l").links == (FOREIGN,)
    assert small.out() == [{"n": n} for n in range(5)]
    unsampled = traced.carried()[4]
    assert read_origin(unsampled) == FOREIGN._replace(sampled=False), "what is not sampled goes on as it came"


def test_attempts_are_spans_below_their_execution() -> None:
    traced = Traced(fed(By(fails(2)))).run()

    execution = traced.one("n1")
    attempts = [traced.one(f"attempt {n}") for n in (1, 2, 3)]
    assert [each.error for each in attempts] == ["not yet", "not yet", None]
    assert [each.attributes[c.ATTEMPT] for each in attempts] == [1, 2, 3]
    assert {each.parent_id for each in attempts} == {execution.span_id}
    assert execution.error is None
    assert attempts[0].attributes[c.ERROR_TYPE] == "ValueError"


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_dead_letter_goes_on_with_the_trace_that_it_died_in(ratio: float) -> None:
    traced = Traced(fed(By(fails(3))), ratio).run()

    root = traced.one("iteration w/l")
    assert (root.error, root.attributes[c.ERROR_TYPE]) == ("not yet", "ValueError")
    assert traced.one("settle in").attributes[c.MESSAGING_OPERATION_NAME] == "dead_letter"
    [letter] = traced.small.host.queue("in").dead
    [_, headers] = decode(letter.item)
    assert read_origin(headers) == root.origin
    assert letter.reason["trace_id"] == f"{root.trace_id:032x}"
    assert not traced.named("send out"), "nothing was sent"


def test_a_failed_iteration_that_was_not_sampled_gets_its_spans_afterwards() -> None:
    traced = Traced(fed(By(as_it_is), By(fails(1)), messages=4), ratio=0.0).run()

    root = traced.one("iteration w/l")
    assert root.attributes[c.AFTERWARDS] is True
    assert traced.one("attempt 1").error == "not yet"
    assert traced.one("attempt 2").error is None
    assert traced.one("process in").attributes[c.MESSAGING_MESSAGE_ID] == "ns/in/1"
    assert root.start <= traced.one("n2").start <= traced.one("n2").end <= root.end
    sent = [read_origin(each) for each in traced.carried()]
    assert sent == [traced.one("send out").origin, None, None, None], "from then on it is recorded like any other"


def test_a_producers_iteration_is_traced_and_idle_ticks_are_not() -> None:
    turns = iter([None, {"n": 1}, None, {"n": 2}])
    traced = Traced(Small(producer=From(turns), nodes=(By(as_it_is),))).run()

    assert len(traced.named("iteration w/l")) == 2
    assert [span.parent_id for span in traced.named("p")] == [each.span_id for each in traced.named("iteration w/l")]
    assert len(traced.named("commit")) == 2


def test_what_a_node_pushes_and_pops_by_itself_is_recorded() -> None:
    def work(node: Any, data: Any) -> Any:
        node.queue_manager.push("side", {"pushed": 1})
        popped = node.queue_manager.pop("side_in", timeout=0)
        return {"popped": popped["n"]}

    small = fed(By(work), push_queues=("side",), pop_queues=("side_in",), headers={c.BAGGAGE: "tenant=x"})
    small.host.enter_writers({"side_in": ()})
    small.host.push("side_in", [encode_item({"n": 7}, {c.TRACEPARENT: FOREIGN.traceparent})])
    traced = Traced(small).run()

    execution = traced.one("n1")
    assert traced.one("send side").parent_id == traced.one("receive side_in").parent_id == execution.span_id
    assert traced.one("receive side_in").links == (FOREIGN,)
    [carried] = traced.carried("side")
    assert read_origin(carried) == traced.one("send side").origin
    assert carried[c.BAGGAGE] == "tenant=x"


def test_what_a_node_traces_or_logs_is_inside_its_execution() -> None:
    seen = []

    def work(_: Any, data: Any) -> Any:
        seen.append(get_current_span().get_span_context())
        return data

    traced = Traced(fed(By(work), messages=2), ratio=1.0).run()

    assert [each.span_id for each in seen] == [span.span_id for span in traced.named("n1")]
    assert not get_current_span().get_span_context().is_valid


def test_no_more_traces_begin_in_a_second_than_the_budget_has() -> None:
    traced = Traced(fed(By(as_it_is), messages=200), per_second=5).run()

    assert 1 <= len(traced.named("iteration w/l")) <= 5
    assert len(traced.small.out()) == 200


@pytest.mark.parametrize("headers", [None, {"traceparent": FOREIGN.traceparent}])
def test_what_would_be_lost_anyway_is_not_recorded_but_counted(headers: dict[str, Any] | None) -> None:
    traced = Traced(fed(By(fails(1)), headers=headers, messages=5), 0.0 if headers else 1.0)
    traced.mute.on = True
    traced.run()

    assert traced.spans == []
    assert traced.mute.take_lost() > 0
    assert traced.mute.take_lost() == 0
    assert len(traced.small.host.peek("out")) == 5


def test_output_and_state_are_the_same_whether_traced_or_not() -> None:
    outs = [Traced(fed(By(as_it_is), By(fails(2)), messages=50), ratio).run().small.out() for ratio in (0.0, 0.5, 1.0)]

    assert outs[0] == outs[1] == outs[2] == [{"n": n} for n in range(50)]


class Finishing(By):
    """Says something more at the end."""

    def finish(self) -> Any:
        return {"last": 1}


@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize("fed_by_queue", [False, True])
def test_what_nodes_give_out_at_the_end_is_not_lost(ratio: float, fed_by_queue: bool) -> None:
    nodes = (Finishing(as_it_is), By(fails(1)))
    turns = iter([{"n": n} for n in range(3)])
    small = fed(*nodes, messages=3) if fed_by_queue else Small(producer=From(turns), nodes=nodes)

    assert Traced(small, ratio).run().small.out() == [{"n": 0}, {"n": 1}, {"n": 2}, {"last": 1}]


def test_what_a_recorded_iteration_returns_as_a_list_is_pushed_in_order() -> None:
    traced = Traced(fed(By(lambda _, data: [{"n": data["n"], "item": item} for item in range(3)]), messages=2)).run()

    assert traced.small.out() == [{"n": n, "item": item} for n in range(2) for item in range(3)]
    assert [read_origin(each) for each in traced.carried()] == [span.origin for span in traced.named("send out")]


def test_a_sampler_whose_budget_is_used_up_does_not_have_its_loop_look_up_all_the_time() -> None:
    sampler = Sampler(1.0, Budget(10), lambda: 0.0)

    picks = [sampler.picks(count, now_ns=count) for count in range(30)]

    assert (sum(picks), sampler.spacing_ns) == (10, 100_000_000)


def test_a_sampler_picks_its_part_of_a_slow_loop_and_of_a_quick_one() -> None:
    chance = random.Random(5).random
    slow, quick = Sampler(0.01, Budget(0), chance), Sampler(0.01, Budget(0), chance)

    of_slow = sum(slow.picks(count, count) for count in range(20_000))
    of_quick = sum(quick.picks(count, count) for count in range(0, 200_000, 50))

    assert 150 <= of_slow <= 250
    assert 1_500 <= of_quick <= 2_500


def test_a_budget_is_for_any_second_and_not_for_each() -> None:
    budget = Budget(2)

    taken = [budget.take(now) for now in (0, 10, 900_000_000, 1_000_000_000, 1_000_000_005, 1_000_000_010)]

    assert taken == [True, True, False, True, False, True]
