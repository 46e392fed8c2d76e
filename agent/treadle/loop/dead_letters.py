"""Dead letters: every message that an iteration popped, with the reason, for its own queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.queues.codec import encode_buried
from treadle.queues.tenure import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.loop.outcome import LoopError

Popped = tuple[str, int, Any]  # queue, number, item as it was decoded


def dead_letters(
    popped: Sequence[Popped], error: LoopError, *, namespace: str, revision: str, iteration: str
) -> list[DeadLetter]:
    """Return the letters of one iteration; `iteration` is the id that they have in common."""
    reason = {
        "error": error.code,
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback,
        "node": error.node,
        "attempts": error.attempts,
        "revision": revision,
        "iteration": iteration,
    }
    return [
        DeadLetter(queue, number, encode_buried(item, f"{namespace}/{queue}/{number}"), reason)
        for queue, number, item in popped
    ]
