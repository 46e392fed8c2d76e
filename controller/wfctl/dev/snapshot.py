"""What runs at one moment, and what follows from it. Decided from API messages alone, without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.v1 import loop_pb2, queue_pb2
from wfctl import rows
from wfctl.errors import NotPlaceable, Unhealthy, WfctlError
from wfctl.text import rate
from wfctl.waiting import is_healthy

_S = loop_pb2.LoopState
_FINAL: Final = frozenset({_S.LOOP_STATE_COMPLETED, _S.LOOP_STATE_ERROR})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The loops and queues of a namespace."""

    loops: tuple[loop_pb2.Loop, ...] = ()
    queues: tuple[queue_pb2.Queue, ...] = ()

    @property
    def has_begun(self) -> bool:
        """Whether all loops run, or did; one that is in ERROR will not."""
        return bool(self.loops) and all(is_healthy(loop) or loop.state == _S.LOOP_STATE_ERROR for loop in self.loops)

    @property
    def has_ended(self) -> bool:
        """Whether no loop will do anything any more."""
        return bool(self.loops) and all(loop.state in _FINAL for loop in self.loops)

    @property
    def failed(self) -> Sequence[loop_pb2.Loop]:
        """The loops in ERROR."""
        return [loop for loop in self.loops if loop.state == _S.LOOP_STATE_ERROR]

    @property
    def waiting(self) -> Sequence[loop_pb2.Loop]:
        """The loops that do not run, and are not meant to rest."""
        return [loop for loop in self.loops if not is_healthy(loop)]


def verdict(last: Snapshot, *, began: bool) -> WfctlError | None:
    """Return what a session that ends after this snapshot has to complain of, None when all is well."""
    if last.failed:
        loop = last.failed[0]
        return Unhealthy(f"{loop.workflow}/{loop.name} is in ERROR: {rows.reason(loop.reason)}")
    if began or not last.waiting:
        return None
    loop = last.waiting[0]
    sentence = f"{loop.workflow}/{loop.name} is {rows.loop_state(loop.state)}: {rows.reason(loop.reason)}"
    return NotPlaceable(sentence) if loop.state == _S.LOOP_STATE_PENDING else Unhealthy(sentence)


def summary(last: Snapshot) -> Iterator[str]:
    """Yield the figures at the end, a line for each loop and queue."""
    for loop in sorted(last.loops, key=lambda item: (item.workflow, item.name)):
        yield f"loop {loop.workflow}/{loop.name} committed={loop.committed} errors={loop.errors}"
    for queue in sorted(last.queues, key=lambda item: item.name):
        yield f"queue {queue.name} pushed={queue.pushed} committed={queue.committed} depth={queue.depth}"


def changed(before: Snapshot, now: Snapshot) -> Iterator[str]:
    """Yield a line for each loop whose state, agent or reason is new."""
    known = {(loop.workflow, loop.name): _state(loop) for loop in before.loops}
    for loop in now.loops:
        if known.get((loop.workflow, loop.name)) != _state(loop):
            yield f"{loop.workflow}/{loop.name} {_state(loop)}"


def figures(now: Snapshot) -> str:
    """Return one line with what every loop and queue does."""
    loops = [f"{loop.name} {loop.committed} ({rate(loop.iterations_per_second)}/s)" for loop in now.loops]
    queues = [f"{queue.name} depth {queue.depth}" for queue in now.queues if not queue.hidden]
    return f"committed: {', '.join(loops)}; queues: {', '.join(queues) or 'none'}"


def _state(loop: loop_pb2.Loop) -> str:
    agents = ",".join(dict.fromkeys(item.agent for item in loop.instances if item.agent))
    where = f" on {agents} ({rows.pool(loop.pool)})" if agents else ""
    why = f" {rows.reason(loop.reason)}" if loop.reason.message or loop.reason.code else ""
    return f"{rows.loop_state(loop.state)}{where}{why}"
