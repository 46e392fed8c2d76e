"""What a loop's thread hears by itself, what it leaves to the host, and how it wakes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from treadle.queues import ear as ear_module
from treadle.queues.codec import encode_item
from treadle.queues.ear import Ear
from treadle.queues.envelope import array
from treadle.queues.keys import Keys
from treadle.queues.latch import Latch
from treadle.queues.naming import Naming
from treadle.queues.reader import Reader
from treadle.queues.redis_tenure import RedisTenure
from treadle.queues.stencil import bulk

COUNT = 8
PATIENCE_S = 20.0


def answer(*numbers: int, key: bytes = b"{ns}:q:q") -> bytes:
    """Return what XREAD answers when messages are there, one in an entry."""
    raw = b"*1\r\n*2\r\n" + bulk(key) + b"*%d\r\n" % len(numbers)
    for n in numbers:
        item = encode_item({"n": n})
        fields = b"".join(map(bulk, (b"n", b"1", b"d", array([item], len(item)).whole())))
        raw += b"*2\r\n" + bulk(b"%d-1" % n) + b"*4\r\n" + fields
    return raw


class Loop:
    """A loop that listens, and the two ends of its connection."""

    def __init__(self) -> None:
        self.latch = Latch()
        self.reader = Reader(cast("RedisTenure", SimpleNamespace(latch=self.latch)), "q", 1, 0, counted=False)
        self.server, own = socket.socketpair()
        own.setblocking(False)
        self.server.settimeout(PATIENCE_S)
        self.naming = Naming(Keys("ns"), "bell", 5000, [self.reader])
        self.given_back: list[Ear] = []
        self.ear = Ear(own, self.naming, COUNT, b"7-0", self.given_back.append)

    def numbers(self) -> list[int]:
        """Take all that is buffered."""
        got: list[int] = []
        while (batch := self.reader.poll()) is not None:
            got += [item[0]["n"] for item in batch.items]
        return got


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """Return a loop to whom every message comes a while after the last."""
    monkeypatch.setattr(ear_module, "QUIET_S", 0.0)
    one = Loop()
    yield one
    one.ear.close()
    one.server.close()


def test_a_message_is_taken_in_and_the_next_is_asked_for_when_the_loop_sleeps_again(loop: Loop) -> None:
    loop.server.sendall(answer(1, 2))
    loop.ear.wait(PATIENCE_S)
    assert (loop.numbers(), loop.ear.answers, loop.ear.owes) == ([1, 2], 1, True)

    loop.latch.wake()
    loop.ear.wait(PATIENCE_S)
    assert loop.server.recv(1000) == loop.naming.command(COUNT, b"7-0")
    assert b"$3\r\n2-1\r\n" in loop.naming.command(COUNT, b"7-0")
    assert (loop.ear.owes, loop.given_back) == (False, [])


@pytest.mark.parametrize(
    "data",
    [
        answer(*range(1, COUNT + 1)),
        answer(1, key=b"{ns}:h:host"),
        answer(1)[:-3],
        answer(1) + answer(2),
        answer(1).replace(b"$1\r\nn\r\n", b"$1\r\nx\r\n"),
        b"*-1\r\n",
        b"-UNBLOCKED the stream key no longer exists\r\n",
        b"what is this\r\n",
    ],
    ids=["as-many-as-fit", "a-ring", "half", "two", "foreign", "nothing", "an-error", "no-redis"],
)
def test_all_but_a_few_messages_is_left_to_the_host(loop: Loop, data: bytes) -> None:
    loop.server.sendall(data)
    loop.ear.wait(PATIENCE_S)
    assert loop.given_back == [loop.ear]
    assert (loop.ear.unread, loop.ear.owes, loop.numbers()) == (data, False, [])


def test_a_message_soon_after_another_is_left_to_the_host(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.server.sendall(answer(1))
    loop.ear.wait(PATIENCE_S)
    monkeypatch.setattr(ear_module, "QUIET_S", 1e9)
    loop.server.sendall(answer(2))
    loop.ear.wait(PATIENCE_S)
    assert (loop.given_back, loop.ear.unread, loop.numbers()) == ([loop.ear], answer(2), [1])


def test_the_end_of_the_connection_is_left_to_the_host(loop: Loop) -> None:
    loop.server.close()
    loop.ear.wait(PATIENCE_S)
    assert (loop.given_back, loop.ear.unread, loop.ear.broken) == ([loop.ear], b"", False)


def test_who_can_not_ask_says_so(loop: Loop) -> None:
    loop.server.sendall(answer(1))
    loop.ear.wait(PATIENCE_S)
    loop.server.close()
    loop.latch.wake()
    loop.ear.wait(PATIENCE_S)
    assert (loop.given_back, loop.ear.broken) == ([loop.ear], True)


def test_a_reader_that_is_full_does_not_ask(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.queues.reader.HIGH_ENTRIES", 1)
    loop.server.sendall(answer(1))
    loop.ear.wait(PATIENCE_S)
    loop.latch.wake()
    loop.ear.wait(PATIENCE_S)
    assert (loop.given_back, loop.ear.owes, loop.ear.broken) == ([loop.ear], True, False)


def test_a_wait_ends_with_its_time(loop: Loop) -> None:
    loop.ear.wait(0.001)
    loop.ear.wait(-1.0)
    assert not loop.given_back


def test_a_latch_that_is_raised_ends_the_wait(loop: Loop) -> None:
    def wake() -> None:
        while not loop.ear.listening:
            pass
        loop.latch.wake()
        loop.ear.ring()

    other = threading.Thread(target=wake)
    other.start()
    loop.ear.wait(None)
    other.join()
    assert (loop.ear.listening, loop.latch.raised) == (False, False)
    loop.latch.wake()
    loop.ear.wait(None)  # raised before


def test_who_is_told_to_listen_no_more_wakes_and_sleeps_on_the_latch(loop: Loop) -> None:
    descriptors = [loop.ear._socket.fileno(), loop.ear._bell]

    def close() -> None:
        while not loop.ear.listening:
            pass
        loop.ear.close()

    other = threading.Thread(target=close)
    other.start()
    loop.ear.wait(None)
    other.join()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    loop.latch.wake()
    loop.ear.wait(None)
    assert not loop.latch.raised
