"""The NodeRetryPolicy: whether and when a node is tried again. Pure: time and chance are handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.errors import BadMessage, IterationTimeout, Permanent, Retry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.workflow.plan import RetryPolicy

EVERYTHING: Final = "*"

# The same again would give the same again, whatever an author wrote.
_USELESS: Final = (Permanent, BadMessage, IterationTimeout)


class NodeRetryPolicy:
    """Decides by the settings of one node (`data.retry`)."""

    __slots__ = ("_settings",)

    def __init__(self, settings: RetryPolicy) -> None:
        self._settings = settings

    def delay_s(self, error: BaseException, *, attempt: int, elapsed_s: float, chance: float) -> float | None:
        """Return the seconds until the next attempt; None when there is none.

        `attempt` failed, counted from 1, `elapsed_s` after the first one did; `chance` is in [0, 1).
        """
        settings = self._settings
        if attempt >= settings.max_attempts or not self.retries(error):
            return None
        asked = error.after if isinstance(error, Retry) else None
        delay = self.backoff_s(attempt, chance) if asked is None else max(0.0, asked)
        if settings.max_elapsed_s is not None and elapsed_s + delay > settings.max_elapsed_s:
            return None
        return delay

    def retries(self, error: BaseException) -> bool:
        """Tell whether an error of this kind is worth another attempt."""
        if isinstance(error, _USELESS):
            return False
        if isinstance(error, Retry):
            return True
        kinds = names_of(error)
        return not _named(kinds, self._settings.never_retry_on) and _named(kinds, self._settings.retry_on)

    def backoff_s(self, attempt: int, chance: float) -> float:
        """Return the wait after an attempt: exponential up to a limit, and full jitter is a part of it by chance."""
        settings = self._settings
        try:
            longest = settings.initial_backoff_s * settings.multiplier ** (attempt - 1)
        except OverflowError:
            longest = settings.max_backoff_s
        longest = min(longest, settings.max_backoff_s)
        return longest * chance if settings.jitter == "full" else longest


def names_of(error: BaseException) -> frozenset[str]:
    """Return the names that an exception goes by, with inheritance: `ValueError` and `my_nodes.Busy` alike."""
    classes = [each for each in type(error).__mro__ if each is not object]
    return frozenset(each.__name__ for each in classes) | {f"{each.__module__}.{each.__qualname__}" for each in classes}


def _named(kinds: frozenset[str], listed: Iterable[str]) -> bool:
    return any(name == EVERYTHING or name in kinds for name in listed)
