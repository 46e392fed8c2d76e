"""What a consumer was sent and has not acknowledged: in order, within its credits and a limit of bytes. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from treadle.queues.codec import encode_buried
from treadle.queues.tenure import BadItem, Batch, DeadLetter
from treadle_controller.errors import InvalidRequest

MOST_CREDITS: Final = 100_000
MOST_BYTES: Final = 8 * 1024 * 1024  # under way; one batch may exceed it

Reject = tuple[str, str]  # error and message

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True)
class Delivery:
    """Messages first .. first + count - 1 as they go to the consumer: a MessagePack array."""

    first: int
    count: int
    items: bytes


@dataclass(slots=True)
class _Span:
    """What is under way of a delivery, or an item that can't be read, which nobody is sent."""

    first: int
    last: int
    what: Delivery | BadItem


class Acknowledged(NamedTuple):
    """What an iteration consumes: ranges of the queue, and those of its messages that become dead letters."""

    reads: Sequence[tuple[str, int, int]]
    dead: Sequence[DeadLetter]


class Window:
    """See the module."""

    def __init__(self, namespace: str, queue: str, consumer: str, credits_given: int) -> None:
        self._namespace = namespace
        self._queue = queue
        self._consumer = consumer
        self._credits = credits_given
        self._spans: deque[_Span] = deque()
        self._messages = 0
        self._bytes = 0

    @property
    def room(self) -> int:
        """How many messages may be sent now."""
        if self._bytes >= MOST_BYTES:
            return 0
        return self._credits - self._messages

    def give(self, credits_given: int) -> None:
        """Let more messages be under way, up to a limit."""
        self._credits = min(MOST_CREDITS, self._credits + credits_given)

    def send(self, batch: Batch) -> Iterator[Delivery]:
        """Take a batch, which has room, and return what is sent of it: all that can be read."""
        good = 0  # items of the run that is open
        for at, item in enumerate(batch.items):
            if not isinstance(item, BadItem):
                good += 1
                continue
            if good:
                yield self._sent(batch.first + at - good, batch.items[at - good : at])
            number, good = batch.first + at, 0
            self._spans.append(_Span(number, number, item))
        if good:
            end = len(batch.items)
            yield self._sent(batch.first + end - good, batch.items[end - good :])

    def acknowledge(self, ranges: Sequence[tuple[int, int]], rejects: Mapping[int, Reject]) -> Acknowledged:
        """Take what is done. Raises InvalidRequest, and changes nothing, unless it heads what is under way in turn."""
        left = dict(rejects)
        taken: list[tuple[str, int, int]] = []
        dead: list[DeadLetter] = []
        at, begun = 0, 0  # spans that are done, and where the one after them was cut
        for first, last in ranges:
            number = first
            while number <= last:
                if at == len(self._spans):
                    raise _out_of_order(number)
                span = self._spans[at]
                what = span.what
                if isinstance(what, BadItem):
                    dead.append(self._letter(span.first, what, "BadMessage", what.reason))
                    taken.append((self._queue, span.first, span.last))
                    at += 1
                    continue
                if number != (begun or span.first):
                    raise _out_of_order(number)
                end = min(last, span.last)
                taken.append((self._queue, number, end))
                for rejected in [n for n in sorted(left) if number <= n <= end]:
                    item = _decode(what.items)[rejected - what.first]
                    dead.append(self._letter(rejected, item, *left.pop(rejected)))
                number = end + 1
                at, begun = (at + 1, 0) if end == span.last else (at, end + 1)
            if first > last:
                raise InvalidRequest("a range ends before it begins", field="commit.acks", reason="ack-out-of-order")
        if left:
            message = f"message {min(left)} is rejected and not acknowledged"
            raise InvalidRequest(message, field="commit.rejects", reason="reject-without-ack")
        self._drop(at, begun)
        return Acknowledged(_joined(taken), dead)

    def unreadable(self) -> Acknowledged | None:
        """Return the next message that nobody can read, once all before it is done."""
        if not self._spans or not isinstance(what := self._spans[0].what, BadItem):
            return None
        number = self._spans.popleft().first
        return Acknowledged([(self._queue, number, number)], [self._letter(number, what, "BadMessage", what.reason)])

    def _sent(self, first: int, items: Sequence[Any]) -> Delivery:
        delivery = Delivery(first, len(items), _encode(items))
        self._spans.append(_Span(first, first + len(items) - 1, delivery))
        self._messages += len(items)
        self._bytes += len(delivery.items)
        return delivery

    def _drop(self, count: int, begun: int) -> None:
        for _ in range(count):
            span = self._spans.popleft()
            if isinstance(span.what, Delivery):
                self._messages -= span.last - span.first + 1
                self._bytes -= len(span.what.items)
        if begun:
            self._messages -= begun - self._spans[0].first
            self._spans[0].first = begun

    def _letter(self, number: int, item: Any, error: str, message: str) -> DeadLetter:
        ident = f"{self._namespace}/{self._queue}/{number}"
        reason = {
            "error": "rejected" if not isinstance(item, BadItem) else "bad-message",
            "type": error,
            "message": message,
            "traceback": "",
            "node": f"consumer {self._consumer}",
            "attempts": 1,
            "revision": "",
            "iteration": ident,
        }
        return DeadLetter(self._queue, number, encode_buried(item, ident), reason)


def _out_of_order(number: int) -> InvalidRequest:
    message = f"message {number} is not the next one that was sent and not acknowledged"
    return InvalidRequest(message, field="commit.acks", reason="ack-out-of-order")


def _joined(ranges: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Return ranges with those that follow each other made one."""
    joined: list[tuple[str, int, int]] = []
    for queue, first, last in ranges:
        if joined and joined[-1][2] == first - 1:
            joined[-1] = (queue, joined[-1][1], last)
        else:
            joined.append((queue, first, last))
    return joined
