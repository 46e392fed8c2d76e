from __future__ import annotations

import os

from treadle.loop.trace import INSIDE, NUMBER, QUEUE
from treadle_agent.page import IDLE, RUNNING, STARTING, Page, Seen


def test_what_one_process_writes_another_reads() -> None:
    page = Page.create("test", slots=3)
    other = Page(os.dup(page.fd))

    trace = other.claim(2, run=77)
    assert page.read(2) == Seen(77, STARTING)
    other.mark(2, RUNNING)
    other.place(2, thread=12, ident=34)
    trace[INSIDE], trace[QUEUE], trace[NUMBER] = 1, 3, 5_000_000_000
    other.pulse(8)
    other.beat(9)

    assert page.read(2) == Seen(77, RUNNING, inside=True, queue=3, number=5_000_000_000, thread=12, ident=34)
    assert page.read(1) == Seen()
    assert page.read(0) == Seen()
    assert page.signs() == (8, 9)
    trace.release()
    other.close()
    page.close()


def test_a_slot_that_is_claimed_again_says_nothing_of_the_run_before() -> None:
    page = Page.create("test", slots=1)
    page.claim(0, run=1)[NUMBER] = 4
    page.mark(0, IDLE)

    page.claim(0, run=2)

    assert page.read(0) == Seen(2, STARTING)
