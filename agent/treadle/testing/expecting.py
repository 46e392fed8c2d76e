"""What a test says about queues and loops; each raises AssertionError with both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.queues.codec import decode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from treadle.queues.tenure import DeadLetter


class DeadMessage(NamedTuple):
    """A dead letter: the payload (None when it can't be read) and the reason, as `wfctl dlq show` has it."""

    payload: dict[str, Any] | None
    reason: Mapping[str, Any]

    @classmethod
    def read(cls, letter: DeadLetter) -> DeadMessage:
        """Open a letter."""
        readable = letter.reason["error"] != "bad-message"
        return cls(decode(letter.item)[0] if readable else None, letter.reason)


def expect_messages(what: str, found: Sequence[Any], wanted: Sequence[Mapping[str, Any]]) -> None:
    """Compare payloads, in order."""
    expected = [dict(each) for each in wanted]
    if list(found) == expected:
        return
    for at, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            raise AssertionError(f"{what}: message {at + 1} is {one!r}, not {other!r}")
    raise AssertionError(f"{what}: {len(found)} messages, not {len(expected)}: {list(found)!r}, not {expected!r}")
