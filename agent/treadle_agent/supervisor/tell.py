"""What children log and print: into the agent's log, and to the controller for loops that somebody watches."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from treadle.telemetry import conventions as c
from treadle.telemetry.record import LogRecord
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import event_pb2
from treadle_agent.frames import Address, Line, Lines

LOGGERS: Final = ("treadle.node", "treadle.output")  # in the agent's log, for what children say
_nodes, _prints = map(logging.getLogger, LOGGERS)

REMEMBERED: Final = 2_000  # lines of all loops, for whoever asks for the past
REMEMBERED_CHARS: Final = 1024 * 1024
MAX_KEPT: Final = 2_000  # lines for the controller between two batches; more are counted and dropped
FLUSH_S: Final = 0.2


class Memory:
    """The last lines of all loops, bounded by number and size."""

    def __init__(self) -> None:
        self._lines: deque[tuple[Address, Line]] = deque()
        self._chars = 0

    def add(self, address: Address, line: Line) -> None:
        """Take in a line; the oldest go."""
        self._lines.append((address, line))
        self._chars += len(line.message)
        while len(self._lines) > REMEMBERED or self._chars > REMEMBERED_CHARS:
            self._chars -= len(self._lines.popleft()[1].message)

    def recall(self, loops: set[Address], since: float) -> list[tuple[Address, Line]]:
        """Return the lines of some loops from a moment on, oldest first."""
        return [(address, line) for address, line in self._lines if address in loops and line.time >= since]


class LogTeller:
    """Takes lines in and, `flush` by `flush`, gives batches for the controller. `loop_of` finds a run's loop."""

    def __init__(self, agent: str, loop_of: Callable[[int], Address | None]) -> None:
        self._agent = agent
        self._loop_of = loop_of
        self._wanted: set[Address] = set()
        self._kept: deque[event_pb2.LogLine] = deque()
        self._dropped = 0
        self._memory = Memory()
        self._answers: list[wire.LogBatch] = []
        self.lost = 0  # lines that nobody got, ever
        self.on_record: Callable[[LogRecord], None] | None = None  # takes them for a collector

    def recall(self, number: int, loops: set[Address], since: float) -> None:
        """Answer with what is remembered; lines that are on their way go before it, and those that come after it."""
        self._answers += self._batches()
        lines = [self._message(address, line) for address, line in self._memory.recall(loops, since)]
        self._answers.append(wire.LogBatch(lines=lines, recall=number))

    def subscribe(self, loops: set[Address]) -> None:
        """Keep the lines of these loops from now on."""
        self._wanted = loops
        if not loops:
            self._kept.clear()
            self._dropped = 0

    def take(self, lines: Lines) -> None:
        """Take in what nodes logged."""
        for line in lines.lines:
            self._tell(self._loop_of(line.run), line)
        if lines.dropped:
            _nodes.warning("%d lines were dropped: nodes log too much", lines.dropped)
            self._dropped += lines.dropped
            self.lost += lines.dropped

    def printed(self, loops: list[Address], host: str, text: str) -> None:
        """Take in a line that a child, or a program that it started, printed."""
        _prints.info("%s", text, extra={"loop": str(loops[0])} if len(loops) == 1 else {"host": host})
        line = Line(0, time.time(), "INFO", "", text)
        if self.on_record is not None:
            self.on_record(_record(loops[0] if len(loops) == 1 else None, line))
        if len(loops) == 1:
            self._keep(loops[0], line)

    def flush(self) -> list[wire.LogBatch]:
        """Return what is kept for the controller, in order."""
        answers, self._answers = self._answers, []
        return answers + self._batches()

    def _batches(self) -> list[wire.LogBatch]:
        if not (self._kept or (self._dropped and self._wanted)):
            return []
        batch = wire.LogBatch(lines=self._kept, dropped=self._dropped)
        self._kept.clear()
        self._dropped = 0
        return [batch]

    def _tell(self, address: Address | None, line: Line) -> None:
        level = logging.getLevelNamesMapping().get(line.level, logging.INFO)
        _nodes.log(level, "%s", line.message, extra={} if address is None else _fields(address, line))
        if self.on_record is not None:
            self.on_record(_record(address, line))
        if address is not None:
            self._keep(address, line)

    def _keep(self, address: Address, line: Line) -> None:
        self._memory.add(address, line)
        if address not in self._wanted:
            return
        if len(self._kept) >= MAX_KEPT:
            self._dropped += 1
            return
        self._kept.append(self._message(address, line))

    def _message(self, address: Address, line: Line) -> event_pb2.LogLine:
        stamp = Timestamp()
        stamp.FromMicroseconds(round(line.time * 1e6))
        return event_pb2.LogLine(
            time=stamp,
            namespace=address.namespace,
            workflow=address.key.workflow,
            loop=address.key.loop,
            replica=address.key.replica,
            node=line.node,
            level=line.level,
            message=line.message,
            agent=self._agent,
            attempt=line.attempt,
        )


def _fields(address: Address, line: Line) -> dict[str, object]:
    """Return what a structured log says of a line; what is not known is left out."""
    key = address.key
    fields = {
        "namespace": address.namespace,
        "workflow": key.workflow,
        "loop": key.loop,
        "replica": key.replica,
        "node": line.node,
        "attempt": line.attempt,
        "trace_id": line.trace_id,
        "span_id": line.span_id,
        "library": line.logger,
    }
    return {name: value for name, value in fields.items() if value or name == "replica"}


def _record(address: Address | None, line: Line) -> LogRecord:
    attributes: dict[str, str | int] = {}
    if address is not None:
        attributes = {
            c.NAMESPACE: address.namespace,
            c.WORKFLOW: address.key.workflow,
            c.LOOP: address.key.loop,
            c.REPLICA: address.key.replica,
        }
        if line.node:
            attributes |= {c.NODE: line.node, c.ATTEMPT: line.attempt}
    trace_id, span_id = (int(each, 16) if each else 0 for each in (line.trace_id, line.span_id))
    return LogRecord(line.time, line.level, line.message, attributes, trace_id, span_id)
