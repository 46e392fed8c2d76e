"""What becomes of loops whose process died or is about to: who is suspected, who moves on, what is told."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from treadle_agent.frames import Address, Ended, Incident, Trouble, Why
from treadle_agent.page import Seen
from treadle_agent.supervisor import blame, reconcile
from treadle_agent.supervisor.blame import Alone, Death, Sentence
from treadle_agent.supervisor.child import Child
from treadle_agent.supervisor.hosts import from_outside

if TYPE_CHECKING:
    from treadle_agent.supervisor.loops import Loops, Placed

_log = logging.getLogger(__name__)

HAND_OVER_S: Final = 5.0  # for the other loops of a host that has to go to come to an iteration boundary
_OVERDUE: Final = ("attempt-timeout", "import-timeout")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence and whom it concerns."""

    placed: Placed
    sentence: Sentence


class Casualties:
    """Judges, for `Loops`, which carries it out."""

    def __init__(self, loops: Loops) -> None:
        self._loops = loops

    def gone(self, child: Child, code: int) -> None:
        """Take in that a child is gone, and all its runs with it."""
        mine = self._loops.forget_runs(child)
        seen = {placed.number: _seen(child, placed) for placed in mine}
        self._log_end(child, code, mine)
        death = self._death(child, code, mine, seen)
        insiders = sum(each.inside for each in seen.values())
        for placed in mine:
            sentence = blame.judge(death, placed.number, seen[placed.number], placed.plan, insiders)
            self._carry_out(Verdict(placed, sentence))

    def _log_end(self, child: Child, code: int, mine: list[Placed]) -> None:
        """Log the end of a loop's own process that nobody asked for. Those of shared hosts are logged by `Hosts`."""
        if child.role == "process" and child.doom is None:
            for placed in mine:
                about = {"pid": child.pid, "broken": child.broken, "loop": str(placed.record.address)}
                _log.warning("the process host ended with %d", code, extra=about)

    def trouble(self, child: Child, frame: Trouble) -> None:
        """Take in what a child's watchdog saw."""
        placed = self._loops.placed_run(frame.run)
        why = frame.why
        if why is not None and why.code == "host-stalled":
            self.stalled(child, frame.run, why)
        elif placed is None or placed.child is not child:
            return
        elif why is not None and why.code in _OVERDUE:
            self._overdue(child, placed, why)
        else:
            placed.record.hang = why
            self._loops.report(placed.record)

    def stalled(self, child: Child, culprit: int, why: Why) -> None:
        """Have a host die that a node holds; its loops are started in its successor."""
        self._condemn(child, culprit, why)

    def over_limit(self, child: Child, why: Why) -> None:
        """Have a process go that uses more than it may: a loop's own at once, a shared one when it is empty."""
        if child.role != "process":
            self._hand_over(child, why)
            return
        for placed in self._loops.of(child):
            self._condemn(child, placed.number, why)

    def _condemn(self, child: Child, culprit: int, why: Why) -> None:
        if child.doom is None:
            _log.warning("process %d is killed: %s", child.pid, why.message, extra={"code": why.code})
            child.doom, child.culprit = why, culprit
            child.kill()

    def _overdue(self, child: Child, placed: Placed, why: Why) -> None:
        if child.role == "process":
            self._condemn(child, placed.number, why)
            return
        # Its thread can't be stopped. It is left behind: what it still commits is refused from now on.
        self._loops.forget_run(placed)
        seen = _seen(child, placed)
        death = Death(why, own=False, culprit=placed.number)
        self._carry_out(Verdict(placed, blame.judge(death, placed.number, seen, placed.plan, insiders=1)))
        self._hand_over(child, why)

    def _hand_over(self, child: Child, why: Why) -> None:
        """Have a shared host's loops go to its successor at an iteration boundary, and then kill it."""
        if child.doom is not None:
            return
        child.doom, child.innocent = why, True
        self._loops.hosts.succeed(child)
        for placed in self._loops.of(child):
            self._loops.drain(placed.record)
        asyncio.get_running_loop().call_later(HAND_OVER_S, child.kill)
        self.kill_if_empty(child)

    def retire(self, child: Child) -> None:
        """Have a successor take a shared host's further loops; those that run there go on as long as they like."""
        child.retired = True
        self._loops.hosts.succeed(child)
        self.kill_if_empty(child)

    def kill_if_empty(self, child: Child) -> None:
        """Kill a host that has handed over its last loop."""
        if (child.innocent or child.retired) and not self._loops.of(child):
            child.kill()

    def _death(self, child: Child, code: int, mine: list[Placed], seen: dict[int, Seen]) -> Death:
        own = child.role == "process"
        if child.doom is not None:
            return Death(child.doom, own=own, culprit=child.culprit, innocent=child.innocent)
        what = f"signal {-code}" if code < 0 else f"exit code {code}"
        how = f"was killed: {child.broken}" if child.broken else f"ended with {what}"
        outside = from_outside(code) and not child.broken
        stack = child.last_stack()
        crashed = stack is not None and bool(stack.title)
        suspects: set[int] = set()
        traceback = ""
        if stack is not None and crashed:
            traceback = f"{stack.title}\n{stack.text}"
            sources = self._loops.sources
            inside = [placed for placed in mine if seen[placed.number].inside]
            suspects = {each.number for each in inside if blame.blamed(stack, each.plan, sources) is not None}
        why = Why(
            "process-died" if own and not outside else "host-died",
            f"its {child.role} process ({child.pid}) {how}",
            traceback=traceback,
        )
        return Death(why, own=own, outside=outside, suspects=frozenset(suspects))

    def _carry_out(self, verdict: Verdict) -> None:
        placed, sentence = verdict.placed, verdict.sentence
        record, why = placed.record, sentence.why
        address = record.address
        if sentence.failed or sentence.alone is not None:
            on = "" if sentence.alone is None or sentence.alone.suspect is None else str(sentence.alone.suspect)
            reconcile.remember(record, Incident(time.time(), why, input=on))
        self._loops.tell(address, "host-died" if why.code == "process-died" else why.code, why.message)
        if sentence.alone is not None and record.wanted is not None:
            self._isolate(placed, sentence.alone)
        self._loops.take_end(record, Ended(placed.number, "failed" if sentence.failed else "host-died", why))

    def _isolate(self, placed: Placed, alone: Alone) -> None:
        record, now = placed.record, self._loops.now()
        shared = placed.child.role != "process"
        if shared:  # its neighbours paid for it
            recent = (at for at in record.alone_at if now - at < blame.STAY_WINDOW_S)
            record.alone_at = (*recent, now)[-blame.STAY_AFTER :]
        stayed = record.alone is not None and record.alone.stays
        stays = stayed or alone.stays or blame.stays_alone(record.alone_at, now)
        record.alone = Alone(alone.suspect, stays=stays)
        if shared or alone.suspect is not None:
            self._loops.tell(record.address, "loop-isolated", _isolated(record.address, alone))


def _isolated(address: Address, alone: Alone) -> str:
    where = "inside an iteration without a message" if alone.suspect is None else f"on {alone.suspect}"
    return f"{address.key.loop} was {where}: it restarts in a process of its own"


def _seen(child: Child, placed: Placed) -> Seen:
    seen = child.seen(placed.slot)
    return seen if seen.run == placed.number else Seen()
