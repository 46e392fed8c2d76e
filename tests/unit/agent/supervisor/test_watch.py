"""What a process uses, and which thread of it keeps the others from running."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from treadle.workflow.plan import Resources
from treadle_agent.supervisor import threads
from treadle_agent.supervisor.watch import Usage, judge, measure

HOG = """
import ctypes, threading
ready = threading.Barrier(2)
def hog():
    print(threading.get_native_id(), flush=True)
    ready.wait()
    {how}
threading.Thread(target=hog, daemon=True).start()
ready.wait()
while True:
    pass
"""


@pytest.mark.parametrize(
    ("usage", "limits", "code"),
    [
        (Usage(10 << 20, 5), Resources(), None),
        (Usage(10 << 20, 5), Resources(memory=10 << 20, threads=5), None),
        (Usage(11 << 20, 5), Resources(memory=10 << 20), "memory-limit"),
        (Usage(10 << 20, 6), Resources(threads=5), "thread-limit"),
    ],
)
def test_limits_are_told_by_the_code_of_the_one_that_is_exceeded(
    usage: Usage, limits: Resources, code: str | None
) -> None:
    why = judge(usage, limits)

    assert (why and why.code) == code


def test_a_process_is_measured_and_one_that_is_gone_uses_nothing() -> None:
    here = measure(os.getpid())

    assert here.memory > 1 << 20
    assert here.threads >= 1
    assert measure(2**22 + 1) == Usage(0, 0)


@pytest.mark.parametrize("how", ["ctypes.PyDLL(None).usleep(20_000_000)", 're.match(r"(a+)+$", "a" * 40 + "b")'])
def test_the_thread_that_holds_the_interpreter_is_found_whether_it_computes_or_not(how: str) -> None:
    program = "import re\n" + HOG.format(how=how)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            hog = int(process.stdout.readline())
            found = {threads.holder(process.pid, [hog, process.pid]) for _ in range(3)}
        finally:
            process.kill()

    assert hog in found
