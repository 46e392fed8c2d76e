"""What `wfctl top` shows: rows of loops or nodes out of two looks, in an order and narrowed as asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from treadle.v1 import loop_pb2, queue_pb2
from wfctl import rows
from wfctl.tables import Table
from wfctl.text import duration, rate

# What loops are ordered by, and which way round.
SORTS: Final = ("rate", "lag", "errors", "blocked", "committed", "name", "state")
_SMALLEST_FIRST: Final = ("name", "state")


@dataclass(frozen=True, slots=True)
class Look:
    """The loops and queues at one moment; `at` is monotonic."""

    at: float
    loops: tuple[loop_pb2.Loop, ...] = ()
    queues: tuple[queue_pb2.Queue, ...] = ()


@dataclass(frozen=True, slots=True)
class Lens:
    """How somebody looks: order, filter, which row is marked, which loop is opened."""

    sort: str = "rate"
    backwards: bool = False
    troubled: bool = False  # only loops that have trouble
    state: str = ""
    mark: int = 0
    opened: str = ""  # WORKFLOW/LOOP
    over: bool = False

    def press(self, key: str, shown: list[str]) -> Lens:
        """Return what a key makes of it; `shown` are the loops on the screen, in order."""
        last = max(0, len(shown) - 1)
        if key in ("q", "\x03"):
            return replace(self, over=True)
        if key in ("j", "\x1b[B"):
            return replace(self, mark=min(self.mark + 1, last))
        if key in ("k", "\x1b[A"):
            return replace(self, mark=max(self.mark - 1, 0))
        if key in ("\r", "\n", "l", "\x1b[C"):
            return replace(self, opened=shown[min(self.mark, last)]) if shown and not self.opened else self
        if key in ("\x1b", "h", "\x7f", "\x1b[D"):
            return replace(self, opened="")
        if key == "s":
            return replace(self, sort=SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)], mark=0)
        if key == "r":
            return replace(self, backwards=not self.backwards, mark=0)
        return replace(self, troubled=not self.troubled, mark=0) if key == "e" else self


def name_of(loop: loop_pb2.Loop) -> str:
    """Return a loop's name as people write it."""
    return f"{loop.workflow}/{loop.name}"


def chosen(look: Look, lens: Lens) -> list[loop_pb2.Loop]:
    """Return the loops to show, in order."""
    found = [
        loop
        for loop in look.loops
        if (not lens.troubled or _has_trouble(loop))
        and (not lens.state or rows.loop_state(loop.state).lower() == lens.state.lower())
    ]
    found.sort(key=name_of)
    key = _KEYS[lens.sort]
    found.sort(key=lambda loop: key(loop, look), reverse=lens.sort not in _SMALLEST_FIRST)
    return found[::-1] if lens.backwards else found


def loops_table(look: Look, before: Look | None, lens: Lens) -> Table:
    """Return a row for each loop."""
    columns = "LOOP STATE AGENT RATE/S LAG OLDEST BLOCKED ERRORS ERRORS/S IN-FLIGHT COMMITTED DOING"
    table = Table(tuple(columns.split()))
    queues = {queue.name: queue for queue in look.queues}
    past = {name_of(loop): loop for loop in before.loops} if before is not None else {}
    passed = look.at - before.at if before is not None else 0.0
    for loop in chosen(look, lens):
        name, old = name_of(loop), past.get(name_of(loop))
        agents = ",".join(dict.fromkeys(one.agent for one in loop.instances if one.agent))
        oldest = max((queues[read].oldest_age_s for read in loop.reads if read in queues), default=0.0)
        blocked = _gained(_blocked(loop), None if old is None else _blocked(old), passed)
        errors = _gained(loop.errors, None if old is None else old.errors, passed)
        in_flight = sum(one.status.in_flight for one in loop.instances)
        table.add(
            f"loop/{name}",
            name,
            rows.loop_state(loop.state),
            agents,
            rate(loop.iterations_per_second),
            _lag(loop, look),
            duration(oldest) if oldest else "",
            "" if blocked is None else f"{min(1.0, blocked):.0%}",
            loop.errors,
            "" if errors is None else rate(errors),
            in_flight,
            loop.committed,
            doing(loop),
        )
    return table


def nodes_table(loop: loop_pb2.Loop) -> Table:
    """Return a row for each node of a loop and each replica, with the share of the time that it takes."""
    columns = "REPLICA NODE USES HEALTH SHARE P50 P99 EXECUTIONS FAILURES ERROR"
    table = Table(tuple(columns.split()))
    for instance in loop.instances:
        whole = sum(map(_seconds, instance.status.nodes))
        for node in instance.status.nodes:
            health = loop_pb2.NodeHealth.Name(node.health).removeprefix("NODE_HEALTH_")
            share = f"{_seconds(node) / whole:.0%}" if whole else ""
            times = (rows.quantile(node.duration_log2_ns, 0.5), rows.quantile(node.duration_log2_ns, 0.99))
            table.add(
                f"node/{name_of(loop)}/{node.node}",
                *(instance.index, node.node, node.uses, health, share, *times),
                *(node.executions, node.failures, rows.reason(node.last_error)),
            )
    return table


def doing(loop: loop_pb2.Loop) -> str:
    """Return in a few words what a loop does, or why it does nothing."""
    if loop.state != loop_pb2.LOOP_STATE_RUNNING:
        return rows.reason(loop.reason) if loop.reason.code else ""
    said = [one.status.activity for one in loop.instances if one.status.HasField("activity")]
    if not said:
        return ""
    first = said[0]
    what = first.queue or first.node
    return f"{first.code} {what}".strip() if first.code != "working" else what


def _has_trouble(loop: loop_pb2.Loop) -> bool:
    ill = loop.state not in (loop_pb2.LOOP_STATE_RUNNING, loop_pb2.LOOP_STATE_COMPLETED)
    failing = any(node.health == loop_pb2.NODE_HEALTH_FAILING for one in loop.instances for node in one.status.nodes)
    return ill or failing or loop.errors > 0


def _lag(loop: loop_pb2.Loop, look: Look) -> int:
    reads = set(loop.reads)
    return sum(queue.depth for queue in look.queues if queue.name in reads)


def _blocked(loop: loop_pb2.Loop) -> float:
    return sum(one.status.blocked_s for one in loop.instances)


def _gained(now: float, before: float | None, passed: float) -> float | None:
    """Return by how much a total grew each second; None when that is not known yet."""
    if before is None or passed <= 0:
        return None
    return max(0.0, now - before) / passed


def _seconds(node: loop_pb2.NodeStatus) -> float:
    return float(sum(count * 1.5e-9 * 2.0**power for power, count in enumerate(node.duration_log2_ns)))


_KEYS: Final[dict[str, Callable[[loop_pb2.Loop, Look], float | str]]] = {
    "rate": lambda loop, _: loop.iterations_per_second,
    "lag": _lag,
    "errors": lambda loop, _: loop.errors,
    "blocked": lambda loop, _: _blocked(loop),
    "committed": lambda loop, _: loop.committed,
    "name": lambda loop, _: name_of(loop),
    "state": lambda loop, _: rows.loop_state(loop.state),
}
