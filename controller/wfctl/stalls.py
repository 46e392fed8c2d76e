"""Loops that stand still after a failure: no rollout gets healthy by waiting for them alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from treadle.v1 import loop_pb2

STILL_S: Final = 5.0  # some heartbeats: whoever goes on shows it by then
_NOTHING_UNDER_WAY: Final = ("waiting-input", "no-work", "between-turns")

Figures = tuple[tuple[int, int, int, int], ...]


class Stalls:
    """Remembers since when loops stand still, look by look; `now` is monotonic."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Figures, float]] = {}

    def look(self, loops: Iterable[loop_pb2.Loop], now: float) -> loop_pb2.Loop | None:
        """Return a loop that failed, and for some seconds has done nothing since, if there is one."""
        before, self._seen = self._seen, {}
        for loop in loops:
            if not _failed(loop):
                continue
            figures, since = before.get(loop.name, (None, now))
            if figures != _figures(loop):
                since = now
            self._seen[loop.name] = (_figures(loop), since)
            if now - since >= STILL_S:
                return loop
        return None


def sentence(loop: loop_pb2.Loop) -> str:
    """Say how a loop stands still, and which commands tell more."""
    name = f"{loop.workflow}/{loop.name}"
    dead = sum(one.status.dead_letters for one in loop.instances)
    letters = f", {dead} dead letter{'s' * (dead != 1)}" if dead else ""
    look = [f"wfctl why {name}", *(f"wfctl dlq ls {queue}" for queue in loop.reads if dead)]
    node = failing(loop)
    what = f"{what_fails(node)}{letters}" if node is not None else "a node failed"
    return f"{name} makes no progress: {what}, and for {STILL_S:g}s nothing more to do; see: {', '.join(look)}"


def failing(loop: loop_pb2.Loop) -> loop_pb2.NodeStatus | None:
    """Return a node of a loop that fails, if there is one."""
    nodes = (node for one in loop.instances for node in one.status.nodes)
    return next((node for node in nodes if node.health == loop_pb2.NODE_HEALTH_FAILING), None)


def what_fails(node: loop_pb2.NodeStatus) -> str:
    """Say which node fails, and with what."""
    error = node.last_error
    return f"node {node.node} fails" + (f" ({error.code}: {error.message})" if error.message else "")


def _failed(loop: loop_pb2.Loop) -> bool:
    """Whether a loop runs with a failing node, and no replica has anything under way."""
    if loop.state != loop_pb2.LOOP_STATE_RUNNING or loop.desired_state != loop_pb2.DESIRED_STATE_RUNNING:
        return False
    if any(one.status.activity.code not in _NOTHING_UNDER_WAY for one in loop.instances):
        return False
    return failing(loop) is not None


def _figures(loop: loop_pb2.Loop) -> Figures:
    said = (one.status for one in loop.instances)
    return tuple((one.incarnation, one.committed, one.errors, one.retries) for one in said)
