"""timer: starts iterations by the clock."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from treadle.data import Idle, LoopComplete
from treadle.node import Params, ProducerNode
from treadle.nodes.seconds import Seconds


class TimerParams(Params):
    """When to fire: an interval or a cron expression."""

    interval: Seconds | None = Field(None, description="Time between two firings, e.g. `10s`; the first is at once.")
    cron: str | None = Field(None, description="Cron expression, e.g. `*/5 * * * *`; a sixth field is seconds.")
    timezone: str = Field("UTC", description="Time zone of `cron`, e.g. `Europe/Berlin`.")
    limit: int | None = Field(None, ge=1, description="How often to fire; without it, for ever.")

    @model_validator(mode="after")
    def _needs_one_schedule(self) -> Self:
        if (self.interval is None) == (self.cron is None):
            raise ValueError("give either interval or cron")
        if self.interval == 0:
            raise ValueError("interval must be longer than 0")
        return self

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        from croniter import croniter  # noqa: PLC0415 - heavy

        if value is not None and not croniter.is_valid(value):
            raise ValueError(f"{value!r} is no cron expression")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as exc:
            raise ValueError(f"{value!r} is no time zone") from exc
        return value


class Timer(ProducerNode[TimerParams]):
    """Fires by interval or cron, and emits its count `n` and the time it was `scheduled` for.

    `scheduled` is in seconds since the epoch, `time` the same as ISO 8601. Nothing is made up: when firings were
    missed (a slow iteration, a pause, a restart), one firing follows, scheduled for the last that was due.
    """

    uses = "timer"
    stateful = True
    inline = True

    def open(self) -> None:
        self._opened = self.context.now()
        self._zone: tzinfo = UTC if self.params.timezone == "UTC" else ZoneInfo(self.params.timezone)

    def execute(self) -> dict[str, Any] | Idle | LoopComplete:
        fired = self.state.get("fired", {"n": 0, "scheduled": None})
        if self.params.limit is not None and fired["n"] >= self.params.limit:
            return LoopComplete()
        now = self.context.now()
        due, following = self._around(now, fired["scheduled"])
        if due is None:
            return Idle(after=max(following - now, 0.0))
        self.state["fired"] = {"n": fired["n"] + 1, "scheduled": due}
        return {"n": fired["n"], "scheduled": due, "time": _iso(due)}

    def _around(self, now: float, last: float | None) -> tuple[float | None, float]:
        """Return the latest time that is due and was not fired (or None), and the next one after `now`."""
        if self.params.cron is not None:
            return self._around_cron(self.params.cron, now, self._opened if last is None else last)
        interval = self.params.interval or 1.0
        if last is None:
            return now, now + interval
        passed = math.floor((now - last) / interval + 1e-9)
        due = last + passed * interval if passed >= 1 else None
        return due, last + max(passed + 1, 1) * interval

    def _around_cron(self, cron: str, now: float, last: float) -> tuple[float | None, float]:
        from croniter import croniter  # noqa: PLC0415 - heavy

        # From a whole second on: croniter drops fractions, and a time that is due now counts as past.
        base = datetime.fromtimestamp(math.floor(now) + 1, self._zone)
        latest = croniter(cron, base).get_prev(datetime).timestamp()
        following = croniter(cron, datetime.fromtimestamp(math.floor(now), self._zone)).get_next(datetime)
        return (latest if latest > last else None), following.timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
