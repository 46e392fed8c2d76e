"""Verdicts on loops: facts in, one sentence and its evidence out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle_controller.cluster.model import Desired, State, Why
from treadle_controller.diagnosis import (
    Activity,
    LoopFacts,
    NodeFacts,
    Order,
    QueueFacts,
    ReplicaFacts,
    Situation,
    Verdict,
    judge,
    judge_all,
)

NOW = 1_000_000.0


def loop(
    name: str = "w/b", state: State = State.RUNNING, *, facts: LoopFacts | None = None, **more: object
) -> LoopFacts:
    replica = ReplicaFacts(0, state, agent="host-1", **more)  # type: ignore[arg-type]
    return replace(facts or LoopFacts(name), name=name, replicas=(replica,))


def situation(*loops: LoopFacts, queues: tuple[QueueFacts, ...] = (), **more: str) -> Situation:
    return Situation(NOW, {one.name: one for one in loops}, {one.name: one for one in queues}, **more)


def verdict(*loops: LoopFacts, queues: tuple[QueueFacts, ...] = (), **more: str) -> Verdict:
    return judge(situation(*loops, queues=queues, **more), loops[0].name)


def facts(found: Verdict) -> str:
    return "\n".join(f"{one.subject} {one.fact}" for one in found.evidence)


def test_who_paused_it_and_when_is_said() -> None:
    paused = LoopFacts("w/b", Desired.PAUSED, order=Order("anna@host", NOW - 60))
    found = verdict(loop(state=State.PAUSED, facts=paused))

    assert found.code == "paused"
    assert "was paused by anna@host at 1970-01-12 13:45:40 UTC" in found.sentence
    assert found.fix == "wfctl resume w/b"


def test_what_keeps_each_agent_from_taking_it_is_the_evidence() -> None:
    pending = LoopFacts("w/b", obstacles=(("host-1", "is cordoned"), ("host-2", "lacks the labels gpu=yes")))
    found = verdict(loop(state=State.PENDING, facts=pending, why=Why("no-agent-ready", "host-1: cordoned")))

    assert (found.code, found.sentence) == ("no-agent-ready", "w/b is not placed: host-1: cordoned.")
    assert facts(found).splitlines() == ["agent host-1 is cordoned", "agent host-2 lacks the labels gpu=yes"]


def test_a_full_queue_is_told_with_the_reader_that_is_behind_and_the_node_that_takes_its_time() -> None:
    first = loop(
        "w/a", facts=LoopFacts("w/a", writes=("q",)), activity=Activity("queue-full", queue="q", since=NOW - 9)
    )
    nodes = (NodeFacts("parse", 100, seconds=1.0), NodeFacts("slow", 100, seconds=9.0))
    reader = loop("w/b", facts=LoopFacts("w/b", reads=("q",)), nodes=nodes, rate=10.0)
    queue = QueueFacts("q", depth=50, limit=50, writers=("w/a",), readers=("w/b",))
    found = verdict(first, reader, queues=(queue,))

    assert found.code == "queue-full"
    assert found.sentence == (
        "w/a waits for 9 s for room in q (50 of 50 messages): w/b lags: 50 messages wait in q, it commits 10 a second, "
        "and node slow takes 90% of its time (90 ms each)."
    )


def test_a_chain_of_full_queues_leads_to_whoever_was_stopped() -> None:
    first = loop("w/a", facts=LoopFacts("w/a", writes=("p",)), activity=Activity("queue-full", queue="p"))
    second = loop(
        "w/b", facts=LoopFacts("w/b", reads=("p",), writes=("q",)), activity=Activity("queue-full", queue="q")
    )
    third = loop("w/c", State.STOPPED, facts=LoopFacts("w/c", Desired.STOPPED, reads=("q",), order=Order("ben", NOW)))
    queues = (
        QueueFacts("p", 5, limit=5, writers=("w/a",), readers=("w/b",)),
        QueueFacts("q", 7, limit=7, writers=("w/b",), readers=("w/c",)),
    )
    found = verdict(first, second, third, queues=queues)

    assert (
        "room in p (5 of 5 messages): w/b waits for room in q (7 of 7 messages): w/c was stopped by ben"
        in found.sentence
    )


def test_a_reader_whose_writer_fails_is_told_of_the_failure() -> None:
    reader = loop(
        "w/b", facts=LoopFacts("w/b", reads=("q",)), activity=Activity("waiting-input", queue="q", since=NOW - 30)
    )
    writer = loop("w/a", State.BACKOFF, why=Why("exception", "ValueError: no such file"), node="read", retry_at=NOW + 4)
    found = verdict(reader, writer, queues=(QueueFacts("q", writers=("w/a",), readers=("w/b",)),))

    assert found.sentence == (
        "w/b runs and waits for messages in q for 30 s: w/a failed and is started again in 4 s: "
        "read: ValueError: no such file."
    )


def test_a_reader_whose_writer_is_only_slow_just_waits() -> None:
    reader = loop("w/b", facts=LoopFacts("w/b", reads=("q",)), activity=Activity("waiting-input", queue="q"))
    writer = loop("w/a", activity=Activity("working", "make", since=NOW - 1), rate=1.0)
    found = verdict(reader, writer, queues=(QueueFacts("q", writers=("w/a",), readers=("w/b",)),))

    assert found.code == "idle"
    assert found.sentence == "w/b runs and waits for messages in q."


def test_two_loops_that_wait_for_each_other_are_told_without_end() -> None:
    a = loop("w/a", facts=LoopFacts("w/a", reads=("p",), writes=("q",)), activity=Activity("queue-full", queue="q"))
    b = loop("w/b", facts=LoopFacts("w/b", reads=("q",), writes=("p",)), activity=Activity("queue-full", queue="p"))
    queues = (
        QueueFacts("p", 1, limit=1, writers=("w/b",), readers=("w/a",)),
        QueueFacts("q", 1, limit=1, writers=("w/a",), readers=("w/b",)),
    )

    assert "its reader w/a is behind" in verdict(a, b, queues=queues).sentence


def test_a_server_out_of_memory_is_told_before_what_it_leads_to() -> None:
    found = verdict(
        loop(activity=Activity("out-of-memory", since=NOW - 2, message="OOM command not allowed")),
        memory="100 of 100 bytes",
    )

    assert found.code == "out-of-memory"
    assert "for 2 s: the server of the queues is out of memory (100 of 100 bytes)" in found.sentence


def test_full_dead_letters_are_told_with_their_number_and_what_to_do() -> None:
    failed = loop(state=State.ERROR, facts=LoopFacts("w/b", reads=("q",)), why=Why("DLQ_FULL", "they are full"))
    found = verdict(failed, queues=(QueueFacts("q", dead=100_000, readers=("w/b",)),))

    assert found.code == "DLQ_FULL"
    assert "the dead letters of q are full (100,000)" in found.sentence
    assert "wfctl dlq" in found.fix


@pytest.mark.parametrize(
    ("state", "why", "said"),
    [
        (State.ERROR, Why("exception", "ValueError: x."), "failed for good: work: ValueError: x."),
        (State.BACKOFF, Why("wrong-redis", "id b"), "agent host-1 is connected to another Redis: id b."),
        (State.BACKOFF, Why("redis-unreachable", "refused"), "agent host-1 can't reach the queues: refused."),
        (State.LOST, Why("agent-lost", "agent host-1 is lost"), "it was on agent host-1, which is lost."),
        (State.ASSIGNED, None, "was sent to its agent"),
        (State.COMPLETED, None, "has completed"),
    ],
)
def test_each_state_has_its_sentence(state: State, why: Why | None, said: str) -> None:
    assert said in verdict(loop(state=state, why=why, node="work")).sentence


def test_an_agent_that_is_away_is_told_with_what_was_last_known() -> None:
    found = verdict(loop(why=Why("agent-disconnected", "agent host-1 is not connected"), rate=5.0))

    assert found.code == "agent-disconnected"
    assert "w/b runs and commits 5 iterations a second" in found.sentence


def test_by_which_queues_a_loop_was_blocked_is_said_the_worst_first() -> None:
    writer = replace(
        loop(activity=Activity("queue-full", queue="q"), blocked=(("p", 2.0), ("q", 90.0))), writes=("p", "q")
    )
    found = verdict(writer, queues=(QueueFacts("q", depth=5, limit=5),))

    assert "has waited 1 min 30 s for room in q, 2 s for room in p since it began" in facts(found)


@pytest.mark.parametrize(("rate", "said"), [(20.0, "commits 20 iterations a second"), (0.0, "waits for its next turn")])
def test_a_producer_between_two_turns_is_not_one_without_work(rate: float, said: str) -> None:
    found = verdict(loop(activity=Activity("between-turns", "make"), rate=rate))

    assert found.code == "running"
    assert said in found.sentence


def test_of_a_workflow_the_loop_that_is_worst_off_is_told() -> None:
    well, ill = loop("w/a", rate=5.0), loop("w/b", State.ERROR, why=Why("exception", "no"))

    assert judge_all(situation(well, ill), ["w/a", "w/b"]).loop == "w/b"


NAMES = ("w/a", "w/b", "w/c", "v/d")
QUEUES = ("p", "q", "r")
TEXTS = st.text(max_size=20)
IDS = st.sampled_from(("", "work", "work~tail"))
SOME = st.floats(0, 2 * NOW, allow_nan=False)
ACTIVITIES = st.builds(
    Activity,
    st.sampled_from(
        (
            *("queue-full", "out-of-memory", "commit-refused", "retrying"),
            *("working", "waiting-input", "no-work", "between-turns", "new"),
        )
    ),
    IDS,
    st.sampled_from(("", *QUEUES)),
    SOME,
    st.integers(0, 5),
    SOME,
    TEXTS,
)
WHYS = st.builds(Why, st.sampled_from(("exception", "DLQ_FULL", "hanging", "agent-disconnected", "no-agent")), TEXTS)
NODES = st.builds(NodeFacts, IDS, st.integers(0, 9), st.integers(0, 9), st.floats(0, 10), st.booleans(), TEXTS)
REPLICAS = st.builds(
    ReplicaFacts,
    st.integers(0, 3),
    st.sampled_from(State),
    st.none() | WHYS,
    IDS,
    st.sampled_from(("", "host-1")),
    st.none() | ACTIVITIES,
    st.floats(0, 1e6),
    st.integers(0, 10**9),
    st.integers(0, 9),
    SOME,
    SOME,
    st.lists(NODES, max_size=2).map(tuple),
)
ENDS = st.lists(st.sampled_from(QUEUES), max_size=2, unique=True).map(tuple)
LOOPS = st.builds(
    LoopFacts,
    st.just(""),
    st.sampled_from(Desired),
    st.lists(REPLICAS, max_size=2).map(tuple),
    ENDS,
    ENDS,
    st.none() | st.builds(Order, st.sampled_from(("anna", "ben@host")), SOME),
    st.booleans(),
)
LIMITS = st.none() | st.integers(0, 9)
QUEUE_FACTS = st.builds(
    QueueFacts,
    st.just(""),
    st.integers(0, 9),
    st.integers(0, 9),
    LIMITS,
    LIMITS,
    st.booleans(),
    st.none() | st.floats(0, 100),
    st.integers(0, 9),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    loops = {name: replace(draw(LOOPS), name=name) for name in NAMES}
    queues = {}
    for name in QUEUES:
        writers = tuple(one.name for one in loops.values() if name in one.writes)
        readers = tuple(one.name for one in loops.values() if name in one.reads)
        queues[name] = replace(draw(QUEUE_FACTS), name=name, writers=writers, readers=readers)
    return Situation(NOW, loops, queues, draw(st.sampled_from(("", "it is away"))))


@settings(deadline=None)
@given(situations())
def test_whatever_the_situation_there_is_one_sentence_about_the_loop(found: Situation) -> None:
    for name in NAMES:
        said = judge(found, name)
        assert name in said.sentence
        assert said.sentence.endswith(".")
        assert "\n" not in said.sentence
        assert said.loop == name
        assert said.code
        assert said == judge(found, name)


@settings(deadline=None)
@given(situations(), st.sampled_from(NAMES))
def test_a_loop_at_rest_by_somebodys_order_names_that_order_and_nothing_else(found: Situation, name: str) -> None:
    order = Order("carol", NOW)
    resting = LoopFacts(name, Desired.STOPPED, (ReplicaFacts(0, State.STOPPED),), ("q",), ("p",), order)
    said = judge(replace(found, loops={**found.loops, name: resting}), name)

    assert (said.code, "carol" in said.sentence) == ("stopped", True)


@settings(deadline=None)
@given(situations())
def test_of_a_workflow_no_loop_is_worse_off_than_the_one_that_is_told(found: Situation) -> None:
    said = judge_all(found, NAMES)

    assert said.gravity == min(judge(found, name).gravity for name in NAMES)
