from __future__ import annotations

import os

from treadle_agent.page import IDLE, RUNNING, Page


def test_what_one_process_marks_another_reads() -> None:
    page = Page.create("test", slots=3)
    other = Page(os.dup(page.fd))

    other.mark(2, run=77, stage=RUNNING)

    assert page.read(2) == (77, RUNNING)
    assert page.read(1) == (0, IDLE)
    other.close()
    page.close()
