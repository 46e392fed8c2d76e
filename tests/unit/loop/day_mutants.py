"""Faults in the product that a day of failures has to see: each is a small, plausible change to the real code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from tests.unit.loop import day
from treadle.errors import Retry
from treadle.loop import failure, recovery, retry
from treadle.loop.iteration import Iteration
from treadle.loop.outcome import loop_error
from treadle.loop.retry import NodeRetryPolicy
from treadle.loop.state import NodeState
from treadle.queues.memory_tenure import MemoryTenure
from treadle.workflow.plan import RestartPolicy
from treadle_agent.supervisor.restart import after_failure

_delay_s = NodeRetryPolicy.delay_s
_undo = Iteration.undo
_drop = Iteration.drop
_decide = failure.decide


def _one_more(self: NodeRetryPolicy, error: BaseException, *, attempt: int, **more: Any) -> float | None:
    return _delay_s(self, error, attempt=attempt - 1, **more)


def _without_asking(self: NodeRetryPolicy, error: BaseException, **more: Any) -> float | None:
    return _delay_s(self, ValueError() if isinstance(error, Retry) else error, **more)


def _unlimited(self: NodeRetryPolicy, attempt: int, _chance: float) -> float:
    settings = self._settings
    return float(settings.initial_backoff_s * settings.multiplier**attempt)


def _keep_pushes(self: Iteration, at: int, state: Any) -> int | None:
    pushes = list(self.pushes)
    kept = _undo(self, at, state)
    self.pushes = pushes
    return kept


def _keep_state(self: Iteration) -> None:
    for state in self.changed:
        state.keep()
    self.changed = []
    _drop(self)


def _skip_instead(*given: Any, **more: Any) -> Any:
    action = _decide(*given, **more)
    return failure.Action.SKIP if action is failure.Action.DEAD_LETTER else action


def _without_attempts(error: BaseException, *, node: str | None = None, attempts: int = 1) -> Any:
    return loop_error(error, node=node, attempts=min(attempts, 1))


def _never_calm(policy: RestartPolicy, failures: tuple[float, ...], *, now: float, jitter: float) -> Any:
    answer, _ = after_failure(policy, tuple(now for _ in failures), now=now, jitter=jitter)
    return answer, (*failures, now)


def _at_once(policy: RestartPolicy, failures: tuple[float, ...], *, now: float, jitter: float) -> Any:
    return 0.0, after_failure(policy, failures, now=now, jitter=jitter)[1]


Planting = Callable[[], Any]

MUTANTS: Final[dict[str, Planting]] = {
    "an attempt more than allowed": lambda: patch.object(NodeRetryPolicy, "delay_s", _one_more),
    "Permanent is tried again": lambda: patch.object(retry, "_USELESS", ()),
    "Retry(after=...) waits as long as others": lambda: patch.object(NodeRetryPolicy, "delay_s", _without_asking),
    "the backoff has no limit": lambda: patch.object(NodeRetryPolicy, "backoff_s", _unlimited),
    "a failed attempt keeps what it pushed": lambda: patch.object(Iteration, "undo", _keep_pushes),
    "a failed attempt keeps its state": lambda: patch.object(NodeState, "undo", lambda _: True),
    "an iteration that is given up keeps its state": lambda: patch.object(Iteration, "drop", _keep_state),
    "state is not committed": lambda: patch.object(Iteration, "changes", lambda _: None),
    "a dead letter is skipped": lambda: patch.object(recovery, "decide", _skip_instead),
    "the attempts of a dead letter are miscounted": lambda: patch.object(recovery, "loop_error", _without_attempts),
    "a takeover doesn't end its predecessor": lambda: patch.object(MemoryTenure, "end", lambda *_: None),
    "failures are never forgotten": lambda: patch.object(day, "after_failure", _never_calm),
    "a loop that failed again is started at once": lambda: patch.object(day, "after_failure", _at_once),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Put one in for the length of a block."""
    with MUTANTS[name]():
        yield
