"""Random plans, and nodes that do what a script says, for the property tests."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import strategies as st

from treadle import BlockingNode, EndIteration, LoopComplete, NodeData, Params, ProducerNode, Route
from treadle.queues.codec import decode_item
from treadle.queues.memory import MemoryHost
from treadle.queues.memory_tenure import MemoryTenure
from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.workflow.plan import Input, Plan, QueueLimits, RetryPolicy, Step

NO_PARAMS = Params()
ONCE = RetryPolicy(max_attempts=1)
HANDLES = (None, None, None, "a", "b", "error")


@st.composite
def plans(draw: st.DrawFn, *, linear: bool = False) -> Plan:
    """Draw a plan: every step below the producer, in an order that the edges allow."""
    count = draw(st.integers(1, 8))
    steps = [Step("p", "producer", uses="p", retry=ONCE)]
    for at in range(1, count + 1):
        kind = draw(st.sampled_from(["blocking", "blocking", "blocking", "queue", "tail"]))
        # Nothing of this plan hangs below a step with a tail queue.
        sources = [source for source in range(at) if steps[source].tail_queue is None]
        chosen = (
            [at - 1]
            if linear and at - 1 in sources
            else draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3))
        )
        inputs = tuple(Input(source, draw(st.sampled_from(HANDLES)), f"in{nth}") for nth, source in enumerate(chosen))
        steps.append(
            Step(
                f"n{at}",
                "queue" if kind == "queue" else "non-blocking" if kind == "tail" else "blocking",
                uses=None if kind == "queue" else "n",
                inputs=inputs,
                join=draw(st.sampled_from(["all", "any", "each"])),
                queue=f"q{draw(st.integers(0, 1))}" if kind == "queue" else None,
                tail_queue=f"w~l~n{at}" if kind == "tail" else None,
                retry=ONCE,
            )
        )
    return Plan("w", "l", tuple(steps), digest="")


def behaviour(seed: int) -> Any:
    """Return a function of node and payload that always answers the same, and spoils its input first."""

    def behave(node: str, payload: dict[str, Any]) -> Any:
        dice = random.Random(f"{seed} {node} {payload!r}")
        spoil(payload, node)
        return outcome(dice, node, payload)

    return behave


def spoil(payload: dict[str, Any], node: str) -> None:
    """Change a payload inside, as a careless node would: no sibling may see it."""
    for value in payload.values():
        if isinstance(value, list):
            value.append(node)
        elif isinstance(value, dict):
            spoil(value, node)


def outcome(dice: random.Random, node: str, payload: dict[str, Any]) -> Any:
    """Return what a scripted node returns, in the naive interpreter's terms."""
    kind = dice.choices(["plain", "same", "none", "route", "list", "end"], [30, 10, 3, 12, 12, 1])[0]
    fresh = {"by": node, "die": dice.randrange(100), "seen": [node]}
    if kind == "plain":
        return fresh
    if kind == "same":
        return payload
    if kind == "route":
        return ("route", dice.choice(["a", "b"]), fresh)
    if kind == "list":
        one, two, three = ({**fresh, "item": nth, "seen": [nth]} for nth in (1, 2, 3))
        items = [None, one, two, ("route", "a", three), "end"]
        return [item for item, weight in zip(items, [0.2, 0.9, 0.9, 0.3, 0.05], strict=True) if dice.random() < weight]
    return None if kind == "none" else "end"


def to_treadle(output: Any) -> Any:
    """Turn an output from the naive interpreter's terms into treadle's."""
    if isinstance(output, list):
        return [to_treadle(item) for item in output]
    if isinstance(output, tuple):
        return Route(output[1], output[2])
    return EndIteration() if output == "end" else output


class Scripted(BlockingNode[Params]):
    """Does what the behaviour says, and writes down that it did."""

    def __init__(self, name: str, behave: Any, log: list[tuple[str, Any]]) -> None:
        super().__init__(NO_PARAMS)
        self.name, self.behave, self.log = name, behave, log

    def act(self, data: NodeData) -> Any:
        payload = dict(data.payload)
        self.log.append((self.name, decode_copy(payload)))
        return to_treadle(self.behave(self.name, payload))

    def execute(self, data: NodeData) -> Any:
        return self.act(data)


class ScriptedAsync(Scripted):
    """The same, awaited."""

    async def execute(self, data: NodeData) -> Any:
        await asyncio.sleep(0)
        return self.act(data)


class ScriptedInline(Scripted):
    """The same, called on the event loop."""

    inline = True


class Produces(ProducerNode[Params]):
    """Returns one thing after the other."""

    inline = True

    def __init__(self, outputs: list[Any]) -> None:
        super().__init__(NO_PARAMS)
        self.outputs = iter(outputs)

    def execute(self) -> Any:
        for output in self.outputs:
            return to_treadle(output)
        return LoopComplete()


def decode_copy(payload: dict[str, Any]) -> Any:
    """Return a payload that later changes don't reach."""
    from treadle.queues.codec import decode, encode

    return decode(encode(payload))


def open_tenure(plan: Plan) -> tuple[MemoryHost, MemoryTenure]:
    """Return queues in memory, and a tenure for a plan."""
    host = MemoryHost("ns")
    writes = {queue: QueueLimits(None, None) for queue in plan.writes}
    return host, host.incarnate(TenureSpec(LoopKey("w", "l"), epoch=1, reads=plan.reads, writes=writes))


def contents(host: MemoryHost) -> dict[str, list[Any]]:
    """Return the messages of all queues."""
    return {name: [tuple(decode_item(item)) for item in host.peek(name)] for name in host.queues if host.peek(name)}
