"""What faulthandler writes, read."""

from __future__ import annotations

import os

from treadle_agent.supervisor.faults import Faults, Frame, Stack, read_last

ASKED = 'Stack (most recent call first):\n  File "/a.py", line 4 in <module>\n'
CRASHED = """Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/lib/ctypes.py", line 519 in string_at
  File "/my nodes.py", line 6 in execute

Extension modules: hiredis (total: 1)
"""


def test_the_last_stack_is_read_with_its_title() -> None:
    stack = read_last(ASKED + CRASHED)

    assert stack == Stack(
        (Frame("/lib/ctypes.py", 519, "string_at"), Frame("/my nodes.py", 6, "execute")), "Segmentation fault"
    )
    assert stack is not None
    assert stack.text.splitlines()[-1] == '  File "/lib/ctypes.py", line 519, in string_at'


def test_a_stack_that_was_asked_for_has_no_title_whatever_came_before() -> None:
    assert read_last(CRASHED + ASKED) == Stack((Frame("/a.py", 4, "<module>"),))


def test_nothing_or_nonsense_is_no_stack() -> None:
    assert read_last("") is None
    assert read_last("Fatal Python error: none\nwhatever") is None


def test_what_is_appended_through_the_descriptor_is_read() -> None:
    faults = Faults()
    os.write(faults.fd, CRASHED.encode())
    os.write(faults.fd, ASKED.encode())

    assert faults.last() == Stack((Frame("/a.py", 4, "<module>"),))
    assert faults.size == len(CRASHED) + len(ASKED)
    faults.close()
