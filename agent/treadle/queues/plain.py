"""Plain iterations: they read one message, push one, or both, and do nothing else. Most are, so they are kept short.

    a number           read that message
    an item (bytes)    pushed it
    (number, item)     both; the item is None when nothing was pushed
    any longer tuple   is no plain iteration, see group.Iteration

A group of one kind is sorted without looking at each of its iterations in Python; a mixed one is written out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from treadle.queues.group import Contents, Iteration

Short = int | bytes | tuple[int, bytes | None] | Iteration


class Plain(NamedTuple):
    """The queues that a loop's plain iterations read and push to; "" for none."""

    reads: str = ""
    pushes: str = ""

    def whole(self, group: Sequence[Short]) -> list[Iteration]:
        """Write iterations out."""
        return [self._whole(short) for short in group]

    def _whole(self, short: Any) -> Iteration:
        if type(short) is not tuple:
            short = (0, short) if type(short) is bytes else (short, None)
        elif len(short) > 2:
            return short
        number, item = cast("tuple[int, bytes | None]", short)
        reads = ((self.reads, number, number),) if number else ()
        if item is None:
            return reads, (), None, (), False, 0
        return reads, ((self.pushes, item),), None, (), False, len(item)

    def one(self, short: Any) -> tuple[int, bytes | None] | None:
        """Return what a plain iteration read (0: nothing) and pushed (None: nothing); None when it is no plain one."""
        kind = type(short)
        if kind is bytes:
            return 0, short
        if kind is int:
            return short, None
        return short if len(short) == 2 and short[0] else None

    def contents(self, group: Sequence[Any]) -> Contents | None:
        """Sort a group of plain iterations of one kind; None when it is something else."""
        first, last = group[0], group[-1]
        if type(first) is type(last) is int and group == list(range(first, last + 1)):
            contents = Contents(())
            contents.ranges[self.reads], contents.size = [first, last], 0
            return contents
        kinds = set(map(type, group))
        if kinds == {bytes}:
            return self._sorted((), group)
        if kinds == {int}:
            return self._sorted(group, ())
        if kinds == {tuple} and set(map(len, group)) == {2}:
            numbers, items = zip(*group, strict=True)
            return self._sorted(numbers, [item for item in items if item is not None])
        return None

    def _sorted(self, numbers: Sequence[int], items: Sequence[bytes]) -> Contents:
        contents = Contents(())
        contents.size = sum(map(len, items))
        if numbers:
            contents.ranges[self.reads] = ranges(numbers)
        if items:
            contents.pushes[self.pushes] = list(items)
            contents.last_push = 1, len(items[-1])
        return contents


def ranges(numbers: Sequence[int]) -> list[int]:
    """Return message numbers as ranges `[from, to, from, to, ...]`, in their order."""
    first, last = numbers[0], numbers[-1]
    if last - first + 1 == len(numbers) and all(map(int.__eq__, numbers, range(first, last + 1))):
        return [first, last]
    found = [first, first]
    for number in numbers[1:]:
        if number == found[-1] + 1:
            found[-1] = number
        else:
            found += (number, number)
    return found


def size(contents: Contents) -> int:
    """Return the bytes that plain iterations pushed."""
    if contents.size is not None:
        return contents.size
    return sum(sum(map(len, items)) for items in contents.pushes.values())
