"""Dead letters, taken back to their queues or dropped: an iteration's in one step, many steps for all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from treadle.errors import QueueError

if TYPE_CHECKING:
    from treadle.queues.admin import QueueAdmin

PAGE: Final = 500
_ID: Final = re.compile(r"\d+-\d+")


def is_id(name: str) -> bool:
    """Whether a name is that of one letter; others are those of iterations."""
    return _ID.fullmatch(name) is not None


async def take(admin: QueueAdmin, function: Literal["replay", "drop"], queue: str, name: str) -> int:
    """Replay or drop the letters of an iteration, or of all that there are now; returns how many.

    Letters that come in meanwhile stay: a loop that fails at what is replayed would go on for ever.
    """
    if name:
        letter = await admin.dead_letter(queue, name)
        return (await _step(admin, function, queue, letter.id, letter.id))[0] if letter is not None else 0
    newest = await admin.command("XREVRANGE", admin.keys.dead_letters(queue), "+", "-", "COUNT", 1)
    if not newest:
        return 0
    taken, start, last = 0, "-", newest[0][0].decode()
    while start:
        count, at = await _step(admin, function, queue, start, last)
        taken += count
        start = f"({at}" if at and at != last else ""
    return taken


async def _step(admin: QueueAdmin, function: str, queue: str, start: str, end: str) -> tuple[int, str]:
    answer = await admin.call(function, queue, start, end, PAGE)
    match answer[0]:
        case b"OK":
            return int(answer[1]), answer[2].decode()
        case b"FULL":
            full = answer[1].decode()
            raise QueueError(f"The queue {full} is full", queue=full, reason="FULL")
        case code:
            reason = code.decode()
            raise QueueError(f"The queue {queue} refused {function}: {reason}", queue=queue, reason=reason)
