"""A group of iterations as one call of the commit function. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from treadle.queues import envelope
from treadle.queues.tenure import DeadLetter

# What a loop appended: reads, pushes, state, dead letters, completes, size in bytes.
Iteration = tuple[
    Sequence[tuple[str, int, int]],
    Sequence[tuple[str, bytes]],
    Mapping[tuple[str, str], bytes | None] | None,
    Sequence[DeadLetter],
    bool,
    int,
]
Ranges = dict[str, list[int]]  # queue -> [from, to, from, to, ...]


class Writer(NamedTuple):
    """Who commits: what stays the same from one commit to the next."""

    prefix: str
    loop: str
    host: str
    closes: tuple[str, ...]  # queues that the loop writes to


class Contents:
    """The iterations of a group, sorted by what they touch."""

    __slots__ = ("completes", "dead", "last_push", "pushes", "ranges", "size", "state")

    def __init__(self, iterations: Sequence[Iteration]) -> None:
        self.ranges: Ranges = {}
        self.pushes: dict[str, list[bytes]] = {}
        self.state: dict[tuple[str, str], bytes | None] = {}
        self.dead: list[DeadLetter] = []
        self.completes = False
        self.last_push: tuple[int, int] | None = None  # when known: see last_push below
        self.size: int | None = None  # bytes pushed, when known
        self._gather(iterations)

    def _gather(self, iterations: Sequence[Iteration]) -> None:
        # The hot path of every message: one queue in and one out is the usual case, so both are remembered.
        ranges, pushes = self.ranges, self.pushes
        read_from, span = "", [0, 0]
        push_to, items = "", list[bytes]()
        for reads, pushed, state, dead, completes, _ in iterations:
            for queue, first, last in reads:
                if queue != read_from:
                    read_from, span = queue, ranges.setdefault(queue, [])
                if span and span[-1] == first - 1:
                    span[-1] = last
                else:
                    span += (first, last)
            for queue, item in pushed:
                if queue != push_to:
                    push_to, items = queue, pushes.setdefault(queue, [])
                items.append(item)
            if state:
                self.state.update(state)
            if dead:
                self.dead += dead
            if completes:
                self.completes = True


def last_push(iterations: Sequence[Iteration], queue: str) -> tuple[int, int]:
    """Return messages and bytes of the last iteration that pushes to a queue."""
    for iteration in reversed(iterations):
        sizes = [len(item) for name, item in iteration[1] if name == queue]
        if sizes:
            return len(sizes), sum(sizes)
    return 0, 0


def arguments(
    writer: Writer,
    fence: tuple[int, int, int, bytes],
    iterations: Sequence[Any],
    contents: Contents,
    weigh: Callable[[str, int, int], int],
) -> list[Any]:
    """Return the whole FCALL. `fence` is epoch, inc, seq and nonce; `weigh` gives the bytes of a range."""
    pushes = contents.pushes
    function = "treadle_commit" if pushes or contents.dead else "treadle_acknowledge"
    args: list[Any] = ["FCALL", function, 1, f"{writer.prefix}l:{writer.loop}", writer.prefix, writer.loop, *fence]
    # The commit that completes a loop is no iteration of it.
    args += (len(iterations) - int(contents.completes), int(contents.completes), writer.host, len(contents.ranges))
    for queue, ranges in contents.ranges.items():
        size = sum(weigh(queue, ranges[i], ranges[i + 1]) for i in range(0, len(ranges), 2))
        args += (queue, size, len(ranges) // 2, *ranges)
    args.append(len(contents.state))
    for (node, name), value in contents.state.items():
        args += (node, name, "D" if value is None else "S", value or b"")
    args.append(len(pushes))
    for queue, items in pushes.items():
        size = sum(map(len, items)) if contents.size is None else contents.size
        packed = envelope.entries(items, size)
        last = contents.last_push or last_push(iterations, queue)
        args += (queue, len(items), size, *last, len(packed), *chain.from_iterable(packed))
    args.append(len(contents.dead))
    for letter in contents.dead:
        kin = str(letter.reason.get("iteration", ""))
        args += (letter.queue, letter.number, letter.item, msgspec.json.encode(letter.reason), kin)
    closes = writer.closes if contents.completes else ()
    args += (len(closes), *closes)
    return args


def fit(iterations: Sequence[Iteration], rooms: Mapping[str, tuple[int, int]]) -> int:
    """Return how many of the iterations find room: the last one may overshoot, the first always goes."""
    left = {queue: list(room) for queue, room in rooms.items()}
    for index, iteration in enumerate(iterations):
        for queue, _ in iteration[1]:
            room = left.get(queue)
            if index and room and (room[0] == 0 or room[1] == 0):
                return index
        for queue, item in iteration[1]:
            room = left.get(queue)
            if room:
                # -1 is no limit
                room[0] = room[0] if room[0] < 0 else max(0, room[0] - 1)
                room[1] = room[1] if room[1] < 0 else max(0, room[1] - len(item))
    return len(iterations)
