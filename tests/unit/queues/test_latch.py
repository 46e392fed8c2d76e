"""The flag that loops sleep on."""

from __future__ import annotations

import asyncio
import threading
import time

from treadle.queues.latch import Latch


def test_a_flag_raised_before_ends_the_next_wait_and_no_other() -> None:
    latch = Latch()
    latch.wake()
    latch.wait(30)
    began = time.monotonic()
    latch.wait(0.01)
    assert time.monotonic() - began >= 0.01


def test_threads_wake_each_other_many_times() -> None:
    ping, pong = Latch(), Latch()
    pings, pongs = [0], [0]

    def answer() -> None:
        for number in range(500):
            while pings[0] <= number:
                ping.wait(None)  # for ever, if a raising got lost
            pongs[0] += 1
            pong.wake()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    for number in range(500):
        pings[0] += 1
        ping.wake()
        while pongs[0] <= number:
            pong.wait(None)
    thread.join()
    assert (pings, pongs) == ([500], [500])


def test_a_task_is_woken_from_its_loop_and_from_a_thread() -> None:
    async def run() -> None:
        latch = Latch()
        asyncio.get_running_loop().call_soon(latch.wake)
        await latch.wait_async(10)
        waiting = asyncio.create_task(latch.wait_async(10))
        await asyncio.sleep(0)
        await asyncio.to_thread(latch.wake)
        await asyncio.wait_for(waiting, 10)
        latch.wake()
        await latch.wait_async(None)
        began = time.monotonic()
        await latch.wait_async(0.01)
        assert time.monotonic() - began >= 0.009

    asyncio.run(run())
