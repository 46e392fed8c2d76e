"""Stands in for the controller: gives out epochs, enters writers, scales, beats, and reads what was left behind."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import hiredis

from tests.chaos.queues.history import Dump, History, Line, QueueDump
from tests.chaos.queues.patches import Patch
from tests.chaos.queues.variant import witnessed_library
from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import decode, decode_batch
from treadle.queues.envelope import pack
from treadle.queues.group import Contents, Iteration, Writer, arguments
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import QueueLimits

T = TypeVar("T")
TERM = 1


class Stage:
    """A namespace on a server, administered from a plain thread. Every method raises QueueError without a server."""

    def __init__(self, url: str, namespace: str, patches: Sequence[Patch] = ()) -> None:
        self._library = witnessed_library(patches)
        self._runner = asyncio.Runner()
        self._admin = QueueAdmin(url, namespace)
        self.namespace = namespace
        self.keys = self._admin.keys
        self.epoch = 0  # the last one given out, kept outside of Redis
        self.beats = 0
        self.load_functions()
        self.redis_id = self.do(lambda admin: admin.namespace_id())

    def do(self, call: Callable[[QueueAdmin], Awaitable[T]]) -> T:
        """Do something as the controller."""

        async def run() -> T:
            return await call(self._admin)

        return self._runner.run(run())

    def close(self) -> None:
        """Close the connection."""
        self.do(lambda admin: admin.close())
        self._runner.close()

    def command(self, *args: object) -> Any:
        """Send one command."""
        return self.do(lambda admin: admin.command(*args))

    def load_functions(self) -> None:
        """Load the library with the witness."""
        self.command("FUNCTION", "LOAD", "REPLACE", self._library)

    def rewrite_log(self) -> None:
        """Have the server write its append-only log anew, and wait until it has."""
        self.command("BGREWRITEAOF")
        while self.command("INFO", "persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.005)

    def next_epoch(self) -> int:
        """Return an epoch above all others."""
        self.epoch += 1
        return self.epoch

    def assign(self, loops: dict[LoopKey, int]) -> None:
        """Make epochs current."""
        refused = self.do(lambda admin: admin.assign(list(loops.items()), TERM))
        assert not refused, refused

    def enter(self, queues: dict[str, list[LoopKey]], drop: dict[str, list[LoopKey]] | None = None) -> None:
        """Enter writers, and take others out."""
        self.do(lambda admin: admin.enter_writers(queues, drop))

    def limit(self, limits: dict[str, QueueLimits]) -> None:
        """Set limits."""
        self.do(lambda admin: admin.set_limits(limits))

    def scale(self, loops: dict[LoopKey, int], queue: str, slots: Sequence[LoopKey]) -> None:
        """Give a queue its reader slots and all loops their epochs."""
        self.do(lambda admin: admin.scale(list(loops.items()), {queue: slots}, TERM))

    def beat(self) -> bool:
        """Raise the beat; True when it is lower than it was: the server has lost writes."""
        beat, _ = self.do(lambda admin: admin.beat(TERM))
        fallen, self.beats = beat <= self.beats, beat
        return fallen

    def stored_beat(self) -> int:
        """Return the beat that the server knows, and leave it so."""
        return int(self.command("HGET", self.keys.meta, "beat") or 0)

    def repair(self, queue: str) -> None:
        """Make dead letters of entries that treadle did not write."""
        self.do(lambda admin: admin.call("repair", queue))

    def field(self, queue: str, name: str) -> int:
        """Return one figure of a queue."""
        return int(self.command("HGET", self.keys.record(queue), name) or 0)

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return self.field(queue, "tail") - self.field(queue, "next")

    def tenure(self, key: LoopKey) -> tuple[int, int, int, bool]:
        """Return epoch, inc, seq and whether a loop has completed, as stored."""
        stored = self.command("HMGET", self.keys.loop(key), "epoch", "inc", "seq", "completed")
        return int(stored[0] or 0), int(stored[1] or 0), int(stored[2] or 0), stored[3] == b"1"

    def ghost(self, key: LoopKey, fence: tuple[int, int, int, bytes], queue: str, item: bytes) -> str:
        """Send a commit that nobody may make any more, byte for byte as the product would; return the answer."""
        iterations: list[Iteration] = [((), ((queue, item),), None, (), False, len(item))]
        writer = Writer(self.keys.prefix, str(key), "ghost", ())
        call = arguments(writer, fence, iterations, Contents(iterations), lambda *_: 0)
        parser = hiredis.Reader()
        parser.feed(pack(call))
        return str(self.command(*parser.gets())[0].decode())

    def ghost_claim(self, key: LoopKey, fence: tuple[int, int], queue: str) -> str:
        """Claim as somebody who holds the loop no more; return the answer."""
        answer = self.do(lambda admin: admin.call("claim", str(key), *fence, queue, "ghost", 0))
        return str(answer[0].decode())

    def answers(self) -> dict[str, int]:
        """Return how often each function gave each answer."""
        found = self.command("HGETALL", f"{self.keys.prefix}tally")
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return {name.decode(): int(count) for name, count in pairs}

    def errors(self, word: str) -> int:
        """Return how many calls the server has refused with an error that begins with a word."""
        found = self.command("INFO", "errorstats").get(f"errorstat_{word}", {})
        return int(found.get("count", 0)) if isinstance(found, dict) else int(str(found).rpartition("=")[2] or 0)

    def history(self) -> History:
        """Return what the witness wrote down."""
        records = (json.loads(fields[b"j"]) for fields in self._entries(f"{self.keys.prefix}witness"))
        return History.read(records, self.answers())

    def dump(self, queues: Iterable[str], transforms: Iterable[LoopKey], *, sums: bool) -> Dump:
        """Return what is there at the end."""
        lines, strange = self._ledger()
        figures = {name: self._queue(name) for name in queues}
        return Dump(lines, strange, figures, self._sums(transforms) if sums else None)

    def _ledger(self) -> tuple[list[Line], int]:
        lines: list[Line] = []
        strange = 0
        for fields in self._entries(self.keys.queue("ledger")):
            for item in decode_batch(fields[b"d"], int(fields[b"n"])):
                try:
                    row: Any = item[0]
                    lines.append(Line(*(row[name] for name in ("n", "v", "by", "m", "tb", "m2"))))
                except (KeyError, TypeError):
                    strange += 1
        return lines, strange

    def _queue(self, name: str) -> QueueDump:
        names = ("next", "tail", "held", "done", "dropped", "dead")
        stored = self.command("HMGET", self.keys.record(name), *names)
        first, tail, held, done, dropped, dead = (int(value or 0) for value in stored)
        foreign = self._foreign(name)
        return QueueDump(first or 1, tail or 1, held, done, dropped, foreign if foreign == dead else -1)

    def _foreign(self, name: str) -> int:
        """Count the dead letters that say why they are none of treadle's."""
        reasons = (json.loads(fields[b"r"]) for fields in self._entries(self.keys.dead_letters(name)))
        return sum(reason.get("error") == "foreign-entry" and "entry" in reason for reason in reasons)

    def _sums(self, transforms: Iterable[LoopKey]) -> int:
        stored = [self.command("HGET", self.keys.state(key, "work"), "total") for key in transforms]
        return sum(decode(raw) for raw in stored if raw is not None)

    def _entries(self, key: str) -> Iterable[dict[bytes, bytes]]:
        start = "-"
        while page := self.command("XRANGE", key, start, "+", "COUNT", 500):
            for _, fields in page:
                yield fields
            start = f"({page[-1][0].decode()}"
