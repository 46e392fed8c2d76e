"""A wire that several threads share: every call gets its own answer, however full the connection is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from tests.servers import TestServer
from treadle.queues.locate import locate
from treadle.queues.wire import GONE, Wire, connect, pack

THREADS, CALLS = 3, 300
SIZES = (1, 3_000, 400_000)


class Caller:
    """Sends ECHO from a thread or the event loop and notes what came back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent = self.direct = 0
        self.answers: list[Any] = []
        self.done = threading.Event()

    def payload(self) -> bytes:
        """Return the next call: large ones fill the connection."""
        size = SIZES[self.sent % len(SIZES)] if self.sent % 50 == 0 else SIZES[self.sent % 2]
        self.sent += 1
        return pack("ECHO", f"{self.name} {self.sent} {'.' * size}")

    def heard(self, answer: Any) -> None:
        """Take an answer."""
        self.answers.append(answer if answer is GONE else int(answer.split()[1]))
        if len(self.answers) == CALLS:
            self.done.set()

    def call_from_a_thread(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        """Send all calls, directly where that is possible; each after the one before, as a loop does."""
        for _ in range(CALLS):
            answered = threading.Event()

            def heard(answer: Any, answered: threading.Event = answered) -> None:
                self.heard(answer)
                answered.set()

            payload = self.payload()
            if wire.send_directly(payload, heard):
                self.direct += 1
            else:
                loop.call_soon_threadsafe(wire.send, payload, heard)
            assert answered.wait(30)


async def _connected(server: TestServer, on_lost: Callable[[], None], *, shared: bool) -> Wire:
    return await connect(await locate(server.url, "n"), on_lost, name="test", shared=shared)


def test_every_call_of_every_thread_gets_its_own_answer(shared_server: TestServer) -> None:
    async def run() -> None:
        wire = await _connected(shared_server, lambda: None, shared=True)
        loop = asyncio.get_running_loop()
        own, others = Caller("loop"), [Caller(f"thread-{n}") for n in range(THREADS)]
        working = [asyncio.create_task(asyncio.to_thread(each.call_from_a_thread, wire, loop)) for each in others]
        for at in range(CALLS):
            wire.send(own.payload(), own.heard)
            if at % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*working)
        assert await asyncio.to_thread(own.done.wait, 30)
        for each in (own, *others):
            assert each.answers == list(range(1, CALLS + 1)), each.name
        assert sum(each.direct for each in others) > CALLS // 10
        wire.abort()

    uvloop.run(run())


def test_a_full_connection_keeps_the_order_of_what_waits(shared_server: TestServer) -> None:
    async def run() -> None:
        wire = await _connected(shared_server, lambda: None, shared=True)
        heard: list[int] = []
        done = asyncio.Event()

        def note(answer: Any) -> None:
            heard.append(int(answer.split()[0]))
            if len(heard) == 40:
                done.set()

        large = "." * 8_000_000  # more than the connection takes in one piece
        for at in range(40):
            payload = pack("ECHO", f"{at} {large if at in {0, 9} else ''}")
            if at % 2 or not wire.send_directly(payload, note):
                wire.send(payload, note)
        assert not wire.send_directly(pack("PING"), note)  # it would overtake
        await asyncio.wait_for(done.wait(), 30)
        assert heard == list(range(40))
        wire.abort()

    uvloop.run(run())


@pytest.mark.parametrize("shared", [False, True])
def test_a_lost_connection_answers_all_that_wait_and_takes_nothing_more(
    shared_server: TestServer, *, shared: bool
) -> None:
    async def run() -> None:
        lost = asyncio.Event()
        wire = await _connected(shared_server, lost.set, shared=shared)
        answers: list[Any] = []
        wire.send(pack("BLPOP", "nothing", 0), answers.append)
        assert wire.direct is shared
        assert wire.send_directly(pack("PING"), answers.append) is shared
        wire.abort()
        await asyncio.wait_for(lost.wait(), 10)
        assert answers == [GONE, GONE][: 1 + int(shared)]
        assert not wire.direct
        assert not wire.send_directly(pack("PING"), answers.append)
        wire.send(pack("PING"), answers.append)
        assert answers[-1] is GONE

    uvloop.run(run())
