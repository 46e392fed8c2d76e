"""Plays a transcript against the sessions: commands at the margin, what follows from them indented below."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from tests.transcripts import Player
from treadle_controller.cluster.sessions import Refused, Sessions, SessionSettings


class SessionsPlayer(Player):
    """The sessions of all agents, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.numbers = count(1)
        self.others = 0
        self.sessions = Sessions(SessionSettings(), started=0.0, make_id=lambda: f"s{next(self.numbers)}")

    def do_at(self, time: str) -> Iterable[str]:
        """Let the time come, and judge whoever is due until then."""
        while (due := self.sessions.next_deadline()) is not None and due <= float(time):
            self.now = max(self.now, due)
            for lost in self.sessions.tick(self.now):
                if lost.agent.startswith("other"):
                    continue  # of a fleet that only has a size
                live = f" with session {lost.session}" if lost.session else ""
                yield f"{self.now:.1f} {lost.agent} lost{live}: {lost.why.code}"
        self.now = float(time)

    def do_expect(self, agent: str) -> Iterable[str]:
        self.sessions.expect(agent)
        return ()

    def do_understand(self, oldest: str) -> Iterable[str]:
        """Be a controller that no longer understands what is older."""
        settings = SessionSettings(oldest_protocol=int(oldest))
        self.sessions = Sessions(settings, started=self.now, make_id=lambda: f"s{next(self.numbers)}")
        return ()

    def do_fleet(self, size: str) -> Iterable[str]:
        """Let so many other agents be known, or no longer."""
        for number in range(int(size)):
            self.sessions.expect(f"other{number}")
        for number in range(int(size), self.others):
            self.sessions.forget(f"other{number}")
        self.others = int(size)
        return ()

    def do_open(self, agent: str, boot_id: str, speaks: str = "1") -> Iterable[str]:
        opened = self.sessions.open(agent, boot_id, self.now, int(speaks))
        if isinstance(opened, Refused):
            yield f"refused: {opened.why.code}" + (f", ends {opened.ends}" if opened.ends else "")
            return
        replaces = f", replaces {opened.replaces}" if opened.replaces else ""
        yield f"{opened.session}: beat every {opened.interval_s:g} s, lease {opened.lease_s:g} s{replaces}"

    def do_beat(self, agent: str, session: str) -> Iterable[str]:
        if not self.sessions.beat(agent, session, self.now):
            return ("refused",)
        interval_s = self.sessions.new_interval(agent)
        return (f"from now on: beat every {interval_s:g} s",) if interval_s is not None else ()

    def do_close(self, agent: str, session: str) -> Iterable[str]:
        return () if self.sessions.close(agent, session, self.now) else ("ignored",)
