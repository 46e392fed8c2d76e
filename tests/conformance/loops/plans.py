"""A short way to write plans: `loop(produce("p", ...), node("a", "tag", after="p"), queue("out", "q", after="a"))`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from treadle.workflow.plan import Input, Plan, RetryPolicy, Step

WORKFLOW = "w"
KNOWN = ("push_queues", "pop_queues", "tail_queue", "retry", "attempt_timeout_s", "catches")

# A step, and what it comes after: "node" or "node:handle", and the key in a join after a space.
Drawn = tuple[Step, tuple[str, ...]]


# Most tests are about one attempt.
ONCE = RetryPolicy(max_attempts=1)
THRICE = RetryPolicy(initial_backoff_s=0.002)


def produce(name: str, *outputs: Any, uses: str = "produce", **params: Any) -> Drawn:
    """Return a producer that returns these outputs, one per call, and then LoopComplete."""
    return Step(name, "producer", uses=uses, params={"outputs": list(outputs), **params}, retry=ONCE), ()


def read(name: str, *queues: str) -> Drawn:
    """Return a queue-reader as producer."""
    return Step(name, "queue-reader", queues=queues, retry=ONCE), ()


def node(name: str, uses: str, *, after: str | tuple[str, ...], join: Any = "all", **settings: Any) -> Drawn:
    """Return a blocking node; settings that a Step doesn't know are its parameters."""
    known = {key: settings.pop(key) for key in KNOWN if key in settings}
    known.setdefault("retry", ONCE)
    kind: Any = "non-blocking" if "tail_queue" in known else "blocking"
    return Step(name, kind, uses=uses, params=settings, join=join, **known), _names(after)


def queue(name: str, queue_name: str, *, after: str | tuple[str, ...], join: Any = "all") -> Drawn:
    """Return a queue node."""
    return Step(name, "queue", queue=queue_name, join=join), _names(after)


def pop(name: str, queue_name: str, *, after: str, timeout_s: float | None, on_empty: Any = "skip") -> Drawn:
    """Return a queue-reader in the middle."""
    return Step(name, "queue-reader", queue=queue_name, timeout_s=timeout_s, on_empty=on_empty), _names(after)


def loop(*drawn: Drawn, name: str = "l", **settings: Any) -> Plan:
    """Return the plan of a loop."""
    places = {step.node: at for at, (step, _) in enumerate(drawn)}
    steps = tuple(replace(step, inputs=tuple(_input(each, places) for each in after)) for step, after in drawn)
    return Plan(WORKFLOW, name, steps, digest="", **settings)


def _names(after: str | tuple[str, ...]) -> tuple[str, ...]:
    return (after,) if isinstance(after, str) else after


def _input(after: str, places: dict[str, int]) -> Input:
    source, _, key = after.partition(" ")
    source, _, handle = source.partition(":")
    return Input(places[source], handle or None, key or source)
