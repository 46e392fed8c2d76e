"""The nodes of the conformance suite. Each comes as `def execute` and as `async def execute`: `CATALOGS[style]`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from treadle import (
    BlockingNode,
    EndIteration,
    Idle,
    LoopComplete,
    LoopStopping,
    NodeData,
    Params,
    Permanent,
    ProducerNode,
    Route,
)


def output_of(spec: Any) -> Any:
    """Turn JSON into an output: a list, `{"route": handle, "data": payload}`, "end", `{"idle": s}`, a payload, None."""
    if isinstance(spec, list):
        return [output_of(each) for each in spec]
    if spec == "end":
        return EndIteration()
    if isinstance(spec, dict) and "route" in spec:
        return Route(spec["route"], spec["data"])
    return Idle(spec["idle"]) if isinstance(spec, dict) and "idle" in spec else spec


def note(path: str, line: str) -> None:
    """Write down that something happened, whatever process this is."""
    with Path(path).open("a", encoding="utf-8") as journal:
        journal.write(line + "\n")


class ProduceParams(Params):
    """What to return, call by call."""

    outputs: tuple[Any, ...] = ()
    then: str = "complete"
    journal: str = ""


class Produce(ProducerNode[ProduceParams]):
    """Returns its outputs, one per call, each committed once; then completes, or has no more work (`then: idle`)."""

    stateful = True

    def open(self) -> None:
        self.returned = self.state.get("returned", 0)

    def work(self) -> Any:
        n = self.state.get("returned", 0)
        if n == len(self.params.outputs):
            return LoopComplete() if self.params.then == "complete" else None
        self.state["returned"] = n + 1
        return output_of(self.params.outputs[n])

    def execute(self) -> Any:
        return self.work()


class CountParams(Params):
    """How far."""

    limit: int
    outputs: tuple[Any, ...] = ()


class Count(ProducerNode[CountParams]):
    """Emits n = 0, 1, 2, ... up to the limit, each exactly once."""

    stateful = True

    def work(self) -> Any:
        n = self.state.get("n", 0)
        if n == self.params.limit:
            return LoopComplete()
        self.state["n"] = n + 1
        return {"n": n}

    def execute(self) -> Any:
        return self.work()


class Tag(BlockingNode[Params]):
    """Adds its name to the list `tags`, in place: only this branch may see it."""

    def work(self, data: NodeData) -> Any:
        payload = dict(data.payload)
        tags = payload.setdefault("tags", [])
        tags.append(self.context.node)
        return payload

    def execute(self, data: NodeData) -> Any:
        return self.work(data)


class ReturnsParams(Params):
    """What to return."""

    output: Any = None


class Returns(BlockingNode[ReturnsParams]):
    """Returns what it is told to, whatever comes in."""

    def work(self, data: NodeData) -> Any:
        return output_of(self.params.output)

    def execute(self, data: NodeData) -> Any:
        return self.work(data)


class SpreadParams(Params):
    """How many items."""

    items: int


class Spread(BlockingNode[SpreadParams]):
    """Returns a list: its input, so many times, numbered."""

    def work(self, data: NodeData) -> Any:
        name = f"{self.context.node}-item"
        return [data.replace(**{name: item}) for item in range(self.params.items)]

    def execute(self, data: NodeData) -> Any:
        return self.work(data)


class FailParams(Params):
    """When to fail."""

    at: int = -1


class Fail(BlockingNode[FailParams]):
    """Raises when `n` is `at`, after it changed its state and pushed nothing."""

    stateful = True

    def work(self, data: NodeData) -> Any:
        self.state["seen"] = data["n"]
        if data["n"] == self.params.at:
            message = f"{data['n']} is not to be processed"
            raise Permanent(message)
        return data

    def execute(self, data: NodeData) -> Any:
        return self.work(data)


class PushParams(Params):
    """Where to, how often, how large."""

    to: str
    times: int = 1
    size: int = 0


class Push(BlockingNode[PushParams]):
    """Pushes its input by itself, and spoils it afterwards: what was pushed is not changed by that."""

    def work(self, data: NodeData) -> Any:
        payload = {**data.payload, "list": ["as pushed"]}
        for nth in range(self.params.times):
            self.queue_manager.push(self.params.to, {**payload, "nth": nth, "filling": "x" * self.params.size})
        payload["list"].append("changed after the push")
        return data

    def execute(self, data: NodeData) -> Any:
        return self.work(data)


class PushAsync(Push):
    """Awaits its pushes."""

    async def execute(self, data: NodeData) -> Any:
        for nth in range(self.params.times):
            filling = "x" * self.params.size
            pushed = {**data.payload, "list": ["as pushed"], "nth": nth, "filling": filling}
            await self.orchestrator.queue_manager.push(self.params.to, pushed)
        return data


class PopParams(Params):
    """Where from, how long to wait, how often."""

    source: str
    timeout: float | None = None
    times: int = 1
    journal: str = ""


class Pop(BlockingNode[PopParams]):
    """Pops, and hands on what it got."""

    def execute(self, data: NodeData) -> Any:
        if self.params.journal:
            note(self.params.journal, "waiting")
        got = [self.queue_manager.pop(self.params.source, self.params.timeout) for _ in range(self.params.times)]
        return data.replace(got=[None if each is None else each.payload for each in got])


class PopAsync(Pop):
    """Awaits its pops."""

    async def execute(self, data: NodeData) -> Any:
        if self.params.journal:
            note(self.params.journal, "waiting")
        got = [await self.queue_manager.pop(self.params.source, self.params.timeout) for _ in range(self.params.times)]
        return data.replace(got=[None if each is None else each.payload for each in got])


class JournalParams(Params):
    """Where to write."""

    journal: str
    fail: str = ""


class Journal(BlockingNode[JournalParams]):
    """Writes down when it is opened, executed, finished and closed; fails where it is told to."""

    def _note(self, event: str) -> None:
        note(self.params.journal, f"{self.context.node} {event}")
        if event == self.params.fail:
            message = f"told to fail at {event}"
            raise RuntimeError(message)

    def open(self) -> None:
        self._note("open")

    def work(self, data: NodeData) -> Any:
        self._note("execute")
        return data

    def execute(self, data: NodeData) -> Any:
        return self.work(data)

    def finish(self) -> None:
        self._note("finish")

    def close(self) -> None:
        self._note("close")


class Sum(BlockingNode[Params]):
    """Adds up `n`, and says so once at the end."""

    stateful = True

    def work(self, data: NodeData) -> Any:
        self.state["sum"] = self.state.get("sum", 0) + data["n"]

    def execute(self, data: NodeData) -> Any:
        return self.work(data)

    def finish(self) -> Any:
        return {"from": self.context.node, "sum": self.state.get("sum", 0)}


class Ticking(BlockingNode[Params]):
    """Hands on the time."""

    tick = 0.01

    def work(self, data: NodeData) -> Any:
        return data

    def execute(self, data: NodeData) -> Any:
        return self.work(data)

    def on_tick(self, now: float) -> Any:
        return {"tick": now}


class Effect(BlockingNode[Params]):
    """Adds the id of its effect outside, the id of its message, and its source."""

    def work(self, data: NodeData) -> Any:
        headers = data.headers or {}
        context = self.context
        return data.replace(effect=context.effect_id, message=context.message_id, source=headers.get("source"))

    def execute(self, data: NodeData) -> Any:
        return self.work(data)


class WaitParams(Params):
    """How long."""

    seconds: float
    journal: str


class Wait(BlockingNode[WaitParams]):
    """Waits."""

    def execute(self, data: NodeData) -> Any:
        note(self.params.journal, "waiting")
        return data.replace(whole=self.context.wait(self.params.seconds), stopping=self.context.stopping)


class WaitAsync(Wait):
    """Awaits."""

    async def execute(self, data: NodeData) -> Any:
        note(self.params.journal, "waiting")
        return data.replace(whole=await self.context.wait(self.params.seconds), stopping=self.context.stopping)


class Stubborn(BlockingNode[PopParams]):
    """Catches that it should stop, and works on."""

    def execute(self, data: NodeData) -> Any:
        note(self.params.journal, "waiting")
        try:
            self.queue_manager.pop(self.params.source)
        except LoopStopping:
            return data.replace(caught=True)
        return data


class StubbornAsync(Stubborn):
    """The same, awaited."""

    async def execute(self, data: NodeData) -> Any:
        note(self.params.journal, "waiting")
        try:
            await self.queue_manager.pop(self.params.source)
        except LoopStopping:
            return data.replace(caught=True)
        return data


class FlakyParams(Params):
    """Which n fails, and in how many attempts; "exit" leaves the process, "shy" can't be shown."""

    at: int = -1
    times: int = 99
    how: str = "error"
    source: str = ""


class Shy(Exception):
    """An exception without a text, that can't be encoded either."""

    def __str__(self) -> str:
        raise RuntimeError


class Flaky(BlockingNode[FlakyParams]):
    """Does everything that an attempt has to undo, and then may fail."""

    stateful = True

    def act(self, data: NodeData, popped: Any) -> Any:
        attempts = self.state["attempts"] = self.state.get("attempts", 0) + 1
        self.queue_manager.push("side", {"n": data["n"], "attempt": self.context.attempt})
        headers = data.headers or {}
        if data["n"] != self.params.at or self.context.attempt > self.params.times:
            extra = None if popped is None else popped["e"]
            return data.replace(extra=extra, attempts=attempts, header=headers.get("attempt"))
        match self.params.how:
            case "exit":
                raise SystemExit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "shy":
                raise Shy
            case "odd":
                return object()
            case "route":
                return Route("nowhere", data)
            case "undeclared":
                self.queue_manager.push("elsewhere", {})
        message = f"{data['n']} is not liked"
        raise ConnectionError(message)

    def execute(self, data: NodeData) -> Any:
        return self.act(data, self.queue_manager.pop(self.params.source, 0) if self.params.source else None)


class FlakyAsync(Flaky):
    """The same, awaited."""

    async def execute(self, data: NodeData) -> Any:
        return self.act(data, await self.queue_manager.pop(self.params.source, 0) if self.params.source else None)


def _awaited(node_class: Any) -> Any:
    """Return the `async def` twin of a class with a `work`."""

    async def execute(self: Any, *data: Any) -> Any:
        await asyncio.sleep(0)
        return self.work(*data)

    return type(f"{node_class.__name__}Async", (node_class,), {"execute": execute})


_PLAIN: dict[str, Any] = {
    "produce": Produce,
    "count": Count,
    "tag": Tag,
    "returns": Returns,
    "spread": Spread,
    "fail": Fail,
    "journal": Journal,
    "sum": Sum,
    "ticking": Ticking,
    "effect": Effect,
}

CATALOGS: dict[str, dict[str, Any]] = {
    "sync": {**_PLAIN, "push": Push, "pop": Pop, "wait": Wait, "stubborn": Stubborn, "flaky": Flaky},
    "async": {
        **{name: _awaited(node_class) for name, node_class in _PLAIN.items()},
        "push": PushAsync,
        "pop": PopAsync,
        "wait": WaitAsync,
        "stubborn": StubbornAsync,
        "flaky": FlakyAsync,
    },
}
