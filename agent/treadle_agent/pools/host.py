"""What the three kinds of pool hosts share: frames in, figures and log lines out."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from treadle_agent.frames import (
    Address,
    Assign,
    Attach,
    Began,
    Cleared,
    Drain,
    Ended,
    Mute,
    Pause,
    Ready,
    Resume,
    Stop,
    ToChild,
)
from treadle_agent.page import Page
from treadle_agent.pools import stacks
from treadle_agent.pools.channel import Channel
from treadle_agent.pools.lines import NOWHERE, LineCollector, Place
from treadle_agent.pools.loop_run import LoopRun
from treadle_agent.pools.prints import Prints, current_run
from treadle_agent.pools.stacks import Sight
from treadle_agent.pools.watchdog import Watchdog
from treadle_agent.setup import Setup

if TYPE_CHECKING:
    from treadle_agent.pools.spans import Spans

LINES_S: Final = 0.2  # between two collections of log lines
FIGURES_S: Final = 1.0  # between two reports of a loop
WORKER: Final = "treadle worker "  # begins the names of threads in which `def` nodes of tasks run
MAX_FIGURES: Final = 500  # loops in one report; with more, each has its turn less often


class PoolHost(ABC):
    """Runs the loops that it is assigned. Frames arrive in the channel's thread."""

    def __init__(self, setup: Setup, channel: Channel, shared: Page) -> None:
        self.setup = setup
        self.channel = channel
        self.page = shared
        self.runs: dict[int, LoopRun] = {}
        self._numbers: dict[Address, int] = {}
        self._lines = LineCollector(lambda address: self._numbers.get(address, 0), self._here)
        self._turn = 0
        self._prints: list[Prints] = []
        self._stirred = threading.Event()
        self._spans = _spans_of(setup)
        self._watchdog = Watchdog(channel.send, self.sight)
        logging.getLogger().addHandler(self._lines)

    @property
    def name(self) -> str:
        """What this host calls itself in Redis."""
        return f"{self.setup.agent}.{self.setup.marker}"

    def open_for_work(self) -> None:
        """Begin to listen, and say so."""
        self.page.pulse(time.monotonic_ns())
        self.channel.listen(self._hear)
        threading.Thread(target=self._report, name="treadle reporter", daemon=True).start()
        self.channel.send(Ready(os.getpid()))

    def capture_prints(self) -> None:
        """Have what nodes print told apart by loop; for hosts of several."""
        self._prints = [Prints(stream, self._run_of_thread, self._lines.printed) for stream in (sys.stdout, sys.stderr)]
        sys.stdout, sys.stderr = self._prints

    def _run_of_thread(self, name: str) -> int:
        """Return the run whose worker thread has this name, 0 for other threads."""
        if not name.startswith(WORKER):
            return 0
        key = name.removeprefix(WORKER).rpartition("_")[0]
        return next((number for address, number in self._numbers.items() if str(address.key) == key), 0)

    def _here(self) -> Place:
        """Say what the calling thread or task is doing."""
        number = current_run.get() or self._run_of_thread(threading.current_thread().name)
        run = self.runs.get(number)
        return NOWHERE if run is None else Place(number, *run.position())

    @abstractmethod
    def attach(self, namespace: str, redis_id: str) -> None:
        """Connect to the queues of a namespace, so that its first loop finds them there. Must not block."""

    @abstractmethod
    def begin(self, run: LoopRun) -> None:
        """Start a run. Must not block."""

    def finish(self, run: LoopRun, end: Ended) -> None:
        """Say how a run ended, after everything else that there is to say of it."""
        figures = run.figures()
        if figures is not None:
            self.channel.send(figures)
        for stream in self._prints:
            stream.forget(run.number)
        self.send_lines()
        self.send_spans()
        run.over()
        self.runs.pop(run.number, None)
        if self._numbers.get(run.assign.address) == run.number:
            del self._numbers[run.assign.address]
        self.channel.send(end)

    def send_lines(self) -> None:
        lines = self._lines.collect()
        if lines is not None:
            self.channel.send(lines)

    def send_spans(self) -> None:
        spans = None if self._spans is None else self._spans.collect()
        if spans is not None:
            self.channel.send(spans)

    def sight(self, run: LoopRun) -> Sight:
        """Look at what a run is doing."""
        return stacks.of_thread(run.thread)

    def look_around(self, now_ns: int) -> None:  # noqa: B027 - most have nothing else
        """Look after what else this host has."""

    def began(self, began: Began | Cleared) -> None:
        """Say that a loop begins, or is past what was suspected, and what it has done soon after."""
        self.channel.send(began)
        self._stirred.set()

    def _hear(self, frame: ToChild) -> None:
        match frame:
            case Attach(namespace, redis_id):
                self.attach(namespace, redis_id)
            case Assign():
                run = LoopRun(frame, self.page, None if self._spans is None else self._spans.tracing)
                self.runs[run.number] = run
                self._numbers[frame.address] = run.number
                self.begin(run)
            case Mute(on):
                if self._spans is not None:
                    self._spans.tracing.mute.on = on
            case Drain(number):
                self._control(number, "drain")
            case Stop(number):
                self._control(number, "stop")
            case Pause(number):
                self._control(number, "pause")
            case Resume(number):
                self._control(number, "resume")

    def _control(self, number: int, verb: str) -> None:
        run = self.runs.get(number)  # None: it ended just now, and the supervisor will hear of that
        if run is not None:
            run.control(verb)  # type: ignore[arg-type]
            self._stirred.set()

    def _report(self) -> None:
        rounds = 0
        while True:
            self._stirred.wait(LINES_S)
            self._watch()
            self.send_lines()
            self.send_spans()
            rounds += 1
            if self._stirred.is_set() or rounds * LINES_S >= FIGURES_S:
                self._stirred.clear()
                rounds = 0
                self._send_figures()

    def _watch(self) -> None:
        now_ns = time.monotonic_ns()
        self.page.pulse(now_ns)
        self.look_around(now_ns)
        runs = list(self.runs.values())
        self._watchdog.tour(runs)
        for run in runs:
            if run.past_the_beginning():
                self.channel.send(Cleared(run.number))

    def _send_figures(self) -> None:
        runs = list(self.runs.values())
        if len(runs) > MAX_FIGURES:
            self._turn = (self._turn + MAX_FIGURES) % len(runs)
            runs = (runs[self._turn :] + runs[: self._turn])[:MAX_FIGURES]
        for run in runs:
            figures = run.figures()
            if figures is not None:
                self.channel.send(figures)


def _spans_of(setup: Setup) -> Spans | None:
    """Return what collects spans, if they are wanted at all: without it nothing of OpenTelemetry is loaded."""
    if setup.traces is None:
        return None
    from treadle_agent.pools.spans import Spans  # noqa: PLC0415 - see above

    return Spans(setup, setup.traces)
