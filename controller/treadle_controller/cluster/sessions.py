"""Sessions: which agent is connected, since when, and when it counts as lost. Pure: the time is handed in.

    open --------> live --beat--> live
     (replaces an     |--close-----> held --open--> live
      older one)      |               |--hold ends--> lost
                      |--lease ends-> lost

An agent is trusted while its session beats within the lease. When its stream ends, a living host said so, and
the agent is held for a moment so that it can be restarted and take up its loops at the same epochs. A beat says which
one was answered last: an agent that is heard and hears nothing, on a link that is lost one way, is not trusted for
long, although what it had said by then may go on to arrive for seconds. After
the controller itself started, nothing is judged before agents had time to come back (`grace_s` + one lease).

Every deadline belongs to (agent, session): a late one can't hurt a session that came back. The newest session of
a name wins; two processes that take turns under one name are both shut out for `quarantine_s`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from treadle import protocol
from treadle_controller.cluster.model import Why

_RETOLD: Final = 1.1  # a change of the interval by less than a tenth is not worth telling
_UNHEARD: Final = 64  # answers to remember until they are heard: more than a link holds
_TRIPS: Final = 8  # the shortest of so many round trips is the link's: a busy moment makes no link slow


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Times in seconds. The interval grows with the number of agents: messages cost, bytes don't."""

    least_interval_s: float = 1.0
    most_beats_per_second: int = 2_000
    lease_intervals: int = 3
    unheard_intervals: float = 1.5  # after an answer until a beat says that it has arrived; then its lease runs
    slow_lease_intervals: int = 5  # on a slow link, where an agent that is away is held for a whole lease, too
    slow_s: float = 0.1  # a round trip from which on a link counts as slow
    hold_s: float = 1.0
    grace_s: float = 8.0
    turns: int = 3  # so many replacements by another process within `turns_window_s` ...
    turns_window_s: float = 10.0
    quarantine_s: float = 10.0  # ... shut the name out for so long
    most_opens: int = 30  # sessions of one agent within `turns_window_s`; one that always fails keeps others waiting
    oldest_protocol: int = protocol.OLDEST


@dataclass(frozen=True, slots=True)
class Opened:
    """A session began; the one it replaces, if any, has to be told."""

    session: str
    interval_s: float
    lease_s: float
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """No session now; `ends` is one that has to end with it."""

    why: Why
    ends: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """An agent is lost: its loops go elsewhere. `session` is its live stream, if it still has one."""

    agent: str
    session: str
    why: Why


@dataclass(slots=True)
class _Record:
    boot_id: str = ""
    session: str = ""  # live, else empty
    deadline: float | None = None  # lost then, unless it beats or comes back
    answers: deque[tuple[int, float]] = field(default_factory=deque)  # not heard yet, of which beat, and since when
    heard: float | None = None  # when the last answer was given that the agent heard; None: it does not say
    round_trips: deque[float] = field(default_factory=lambda: deque(maxlen=_TRIPS))
    turns: list[float] = field(default_factory=list)  # when another process took the name over
    shut_until: float = 0.0
    opened: list[float] = field(default_factory=list)  # when its last sessions began
    interval_s: float = 0.0  # that it was told to beat at


class Sessions:
    """The sessions of all agents. Methods take the time and say what follows."""

    def __init__(self, settings: SessionSettings, *, started: float, make_id: Callable[[], str]) -> None:
        self._settings = settings
        self._make_id = make_id
        self._judges_from = started + settings.grace_s + self.lease_s
        self._records: dict[str, _Record] = {}

    @property
    def interval_s(self) -> float:
        """How often agents should send heartbeats, given how many there are."""
        records = getattr(self, "_records", {})
        return max(self._settings.least_interval_s, len(records) / self._settings.most_beats_per_second)

    @property
    def lease_s(self) -> float:
        return self.interval_s * self._settings.lease_intervals

    def begin(self, now: float) -> None:
        """Count the grace from now: only from here on can agents come back."""
        self._judges_from = max(self._judges_from, now + self._settings.grace_s + self.lease_s)
        for record in self._records.values():
            if record.deadline is not None:
                record.deadline = max(record.deadline, self._judges_from)

    def expect(self, agent: str) -> None:
        """Know an agent from before the controller started; it may come back within the grace."""
        self._records[agent] = _Record(deadline=self._judges_from)

    def forget(self, agent: str) -> None:
        self._records.pop(agent, None)

    def live(self, agent: str) -> str:
        """Return the live session of an agent, or an empty string."""
        record = self._records.get(agent)
        return record.session if record is not None else ""

    def open(self, agent: str, boot_id: str, now: float, speaks: int = protocol.CURRENT) -> Opened | Refused:
        """Begin a session; the newest of a name wins, unless two processes take turns. `speaks`: its protocol."""
        too_old = protocol.refusal(speaks, f"agent {agent}", oldest=self._settings.oldest_protocol)
        if too_old:
            return Refused(Why("protocol-too-old", too_old))
        record = self._records.setdefault(agent, _Record())
        if now < record.shut_until:
            return Refused(_quarantined(agent))
        if self._comes_too_often(record, now):
            message = f"agent {agent} begins one session after the other; it has to wait"
            return Refused(Why("too-many-sessions", message))
        replaced = record.session
        if replaced and record.boot_id != boot_id and self._takes_turns(record, now):
            record.session, record.deadline = "", self._end_of_hold(record, now)
            record.shut_until = now + self._settings.quarantine_s
            return Refused(_quarantined(agent), ends=replaced)
        record.session, record.boot_id = self._make_id(), boot_id
        record.interval_s = self.interval_s
        record.answers, record.heard = deque([(0, now)], _UNHEARD), None  # who beats has heard the welcome
        record.deadline = self._end_of_lease(record, now)
        return Opened(record.session, self.interval_s, self._lease_of(record), replaced)

    def beat(self, agent: str, session: str, now: float) -> bool:
        """Extend the lease; false when the message is of an older session."""
        record = self._records.get(agent)
        if record is None or not session or record.session != session:
            return False
        record.deadline = self._end_of_lease(record, now)
        return True

    def answer(self, agent: str, beat: int, answered: int, now: float) -> None:
        """Take note that a beat is answered now, and that the agent has heard all answers up to that to `answered`."""
        record = self._records.get(agent)
        if record is None or not record.session:
            return
        while record.answers and record.answers[0][0] <= answered:
            record.heard = record.answers.popleft()[1]
        record.answers.append((beat, now))
        record.deadline = self._end_of_lease(record, now)

    def new_interval(self, agent: str) -> float | None:
        """Return how often an agent should beat from now on, where that is not what it was told."""
        record, interval_s = self._records.get(agent), self.interval_s
        if record is None or 1 / _RETOLD < interval_s / (record.interval_s or interval_s) < _RETOLD:
            return None
        record.interval_s = interval_s
        return interval_s

    def measured(self, agent: str, round_trip_s: float) -> None:
        """Take in how long the answer to a heartbeat took on the agent's link."""
        record = self._records.get(agent)
        if record is not None:
            record.round_trips.append(round_trip_s)

    def is_slow(self, agent: str) -> bool:
        """Whether an agent's link was measured as slow."""
        record = self._records.get(agent)
        return record is not None and self._is_slow(record)

    def close(self, agent: str, session: str, now: float) -> bool:
        """Take note that a stream ended; false when it was an older session's."""
        record = self._records.get(agent)
        if record is None or not session or record.session != session:
            return False
        record.session, record.deadline = "", self._end_of_hold(record, now)
        return True

    def tick(self, now: float) -> list[Lost]:
        """Return the agents whose hold or lease has ended."""
        lost = []
        for agent, record in self._records.items():
            if record.deadline is not None and now >= record.deadline:
                code, message = ("lease-ended", "has not sent a heartbeat within its lease")
                if not record.session:
                    code, message = ("hold-ended", "did not come back")
                lost.append(Lost(agent, record.session, Why(code, f"agent {agent} {message}")))
                record.session, record.deadline = "", None
        return lost

    def postpone(self, seconds: float) -> None:
        """Move all deadlines: it was this controller that was away for so long, and what agents said lies unread."""
        for record in self._records.values():
            if record.deadline is not None:
                record.deadline += seconds
            if record.heard is not None:
                record.heard += seconds
            record.answers = deque([(beat, since + seconds) for beat, since in record.answers], _UNHEARD)

    def next_deadline(self) -> float | None:
        return min((r.deadline for r in self._records.values() if r.deadline is not None), default=None)

    def _is_slow(self, record: _Record) -> bool:
        return len(record.round_trips) > 1 and min(record.round_trips) > self._settings.slow_s

    def _lease_of(self, record: _Record) -> float:
        settings = self._settings
        intervals = settings.slow_lease_intervals if self._is_slow(record) else settings.lease_intervals
        return self._interval_of(record) * intervals

    def _interval_of(self, record: _Record) -> float:
        return max(self.interval_s, record.interval_s)  # it beats as it was told, until it is told anew

    def _end_of_lease(self, record: _Record, now: float) -> float:
        end, lease_s = now, self._lease_of(record)
        if record.heard is not None:
            end = min(end, record.heard + self._settings.unheard_intervals * self._interval_of(record))
        return max(end + lease_s, self._judges_from)

    def _end_of_hold(self, record: _Record, now: float) -> float:
        hold_s = self._lease_of(record) if self._is_slow(record) else self._settings.hold_s
        return max(now + hold_s, self._judges_from)

    def _comes_too_often(self, record: _Record, now: float) -> bool:
        record.opened = [then for then in record.opened if now - then < self._settings.turns_window_s]
        if len(record.opened) >= self._settings.most_opens:
            return True
        record.opened.append(now)
        return False

    def _takes_turns(self, record: _Record, now: float) -> bool:
        record.turns = [then for then in record.turns if now - then < self._settings.turns_window_s] + [now]
        if len(record.turns) < self._settings.turns:
            return False
        record.turns.clear()
        return True


def _quarantined(agent: str) -> Why:
    return Why("agent-name-contested", f"two processes take turns as agent {agent}; give one of them another name")
