"""The nodes of the plays: a source that numbers its messages, a transform, and a sink that keeps a ledger."""

from __future__ import annotations

import mmap
import random
from pathlib import Path
from typing import Any

from treadle import BlockingNode, Idle, LoopComplete, NodeData, Params, ProducerNode


def value_of(n: int) -> int:
    """Return the sum of money that message n carries."""
    return n * 7919 % 1009


class Gate:
    """A number in a file, for two processes: how many messages the source may emit before the next fault has come."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    @property
    def upto(self) -> int:
        """The number."""
        return int.from_bytes(self._map[:8], "little")

    @upto.setter
    def upto(self, number: int) -> None:
        self._map[:8] = number.to_bytes(8, "little")


class SourceParams(Params):
    """How much, and who says it."""

    total: int
    burst: int
    seed: int
    tag: str
    gate: str  # a file that holds how far it may go for now


class Source(ProducerNode[SourceParams]):
    """Emits messages 0 .. total - 1, one to `burst` of them an iteration."""

    uses = "chaos.source"
    stateful = True

    def open(self) -> None:
        self.n: int = self.state.get("n", 0)
        self.gate = Gate(Path(self.params.gate))

    def execute(self) -> Any:
        n, params = self.n, self.params
        if n >= params.total:
            return LoopComplete()
        if n >= self.gate.upto:
            return Idle(after=0.005)
        size = random.Random(params.seed * 1_000_003 + n).randint(1, params.burst)
        self.n = self.state["n"] = min(n + size, params.total)
        return [{"n": i, "v": value_of(i), "by": params.tag} for i in range(n, self.n)]


class TransformParams(Params):
    """Who it is, and whether it keeps the sum of what it saw."""

    tag: str
    sums: bool = False


class Transform(BlockingNode[TransformParams]):
    """Hands a message on with its number in the queue and its own tag."""

    uses = "chaos.transform"

    def execute(self, data: NodeData) -> Any:
        return NodeData({**data.payload, "m": number_of(self.context.message_id), "tb": self.params.tag})


class Summing(Transform):
    """The same, and keeps the sum of the values in its state."""

    uses = "chaos.summing"
    stateful = True

    def open(self) -> None:
        self.total: int = self.state.get("total", 0)

    def execute(self, data: NodeData) -> Any:
        self.total = self.state["total"] = self.total + data["v"]
        return super().execute(data)


class SinkParams(Params):
    """Nothing."""


class Sink(BlockingNode[SinkParams]):
    """Adds the number in the second queue: what it returns is a line of the ledger."""

    uses = "chaos.sink"

    def execute(self, data: NodeData) -> Any:
        return NodeData({**data.payload, "m2": number_of(self.context.message_id)})


class Swallow(Sink):
    """A sink that keeps nothing."""

    uses = "chaos.swallow"

    def execute(self, data: NodeData) -> Any:
        return None


def number_of(message_id: str | None) -> int:
    """Return a message's number in its queue."""
    return int((message_id or "/0").rpartition("/")[2])


CATALOG = {each.uses: each for each in (Source, Transform, Summing, Sink, Swallow)}
