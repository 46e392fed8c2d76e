"""When a loop that ended is started again. Pure: the time and the random numbers are handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from treadle.workflow.plan import RestartPolicy

HOST_BURST: Final = 5  # deaths of a shared host that are made good at once, by what it did itself ...
OUTSIDE_BURST: Final = 30  # ... or when somebody killed it, as the kernel does when memory runs out ...
HOST_WINDOW_S: Final = 10.0  # ... within this time; a host that goes on dying is started once a second
HOST_PAUSE_S: Final = 1.0
REDIS_PAUSE_S: Final = 0.25  # while Redis does not answer: first, doubling to the last
REDIS_MAX_PAUSE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The loop is in ERROR until somebody restarts it."""

    because: str


def after_failure(
    policy: RestartPolicy, failures: tuple[float, ...], *, now: float, jitter: float
) -> tuple[float | GiveUp, tuple[float, ...]]:
    """Return the delay in seconds before the next start, or GiveUp, and the failures to remember.

    `failures` are the times of those that counted before. Only those of the policy's window matter, so as many
    calm seconds as the window has forget everything. The first is made good at once, the next after the initial
    backoff, doubling; `jitter` in [0, 1) takes up to half of it off. `always` never gives up, `never` does at once.
    """
    recent = (*(at for at in failures if now - at < policy.window_s), now)
    if policy.mode == "never":
        return GiveUp("its restart policy is never"), recent
    if policy.mode == "on-failure" and len(recent) > policy.max_restarts:
        return GiveUp(f"it failed {len(recent)} times in {policy.window_s:g} s"), recent[-policy.max_restarts :]
    kept = recent[-max(policy.max_restarts, 1) - 1 :] if policy.mode == "on-failure" else recent[-64:]
    return _backoff(policy, len(kept), jitter), kept


def after_outage(attempts: int, *, jitter: float) -> float:
    """Return the delay before a loop tries again to reach a Redis that did not answer `attempts` times."""
    return min(REDIS_MAX_PAUSE_S, REDIS_PAUSE_S * 2.0 ** min(attempts, 16)) * (1.0 - jitter / 2)


def after_host_death(deaths: tuple[float, ...], *, now: float, outside: bool) -> tuple[float, tuple[float, ...]]:
    """Return the delay before a shared host is started again, and the deaths to remember."""
    recent = (*(at for at in deaths if now - at < HOST_WINDOW_S), now)
    burst = OUTSIDE_BURST if outside else HOST_BURST
    return (0.0 if len(recent) <= burst else HOST_PAUSE_S), recent[-OUTSIDE_BURST:]


def _backoff(policy: RestartPolicy, count: int, jitter: float) -> float:
    if count <= 1:
        return 0.0
    # The exponent is bounded: 2.0 ** 1100 is an OverflowError, not a long time.
    full = min(policy.max_backoff_s, policy.initial_backoff_s * 2.0 ** min(count - 2, 64))
    return full * (1.0 - jitter / 2)
