"""Dead letters: every message that an iteration popped, with the reason, for its own queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.queues.codec import encode_buried
from treadle.queues.tenure import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.loop.outcome import LoopError
    from treadle.telemetry.origin import Origin

Popped = tuple[str, int, Any]  # queue, number, item as it was decoded


def dead_letters(
    popped: Sequence[Popped],
    error: LoopError,
    *,
    namespace: str,
    revision: str,
    iteration: str,
    origin: Origin | None = None,
) -> list[DeadLetter]:
    """Return the letters of one iteration; `iteration` is the id that they have in common.

    `origin`: the iteration was traced; whoever replays a message that came with no trace goes on with this one.
    """
    traceparent = None if origin is None else origin.traceparent
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
    if origin is not None:
        reason["trace_id"] = f"{origin.trace_id:032x}"
    return [
        DeadLetter(queue, number, encode_buried(item, f"{namespace}/{queue}/{number}", traceparent), reason)
        for queue, number, item in popped
    ]
