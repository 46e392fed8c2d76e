"""A day of random failures, on a clock that jumps to whatever is waited for: the same again by the same seed.

Two loops, one after the other: a producer's, and one that reads what it pushed. Their nodes raise what they like, and
another instance takes over in the middle of an iteration. `breaches` says what is wrong with a day: it knows what was
raised and when, and what is in the queues in the end, and nothing of how the product came to it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.unit.loop.small import KEY, From, Small, StatefulBy
from treadle import LoopComplete, Permanent, Retry
from treadle.loop import Outcome
from treadle.queues.bell import Bell
from treadle.queues.codec import decode, decode_item
from treadle.queues.memory import MemoryHost
from treadle.queues.tenure import TenureSpec
from treadle.workflow.plan import RestartPolicy, RetryPolicy
from treadle_agent.supervisor.restart import GiveUp, after_failure

HOURS_24_S: Final = 86_400.0
INTERVAL_S: Final = 20.0
ASKED_S: Final = 7.0  # what a node asks for that raises Retry
RETRY: Final = RetryPolicy(max_attempts=4, max_elapsed_s=None, initial_backoff_s=0.5, max_backoff_s=1.5)
RESTART: Final = RestartPolicy(mode="always")
_LITTLE: Final = 1e-6


class JumpingClock:
    """Moves on when a loop waits for it."""

    driven = False

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def subscribe(self, moved: Any) -> None:
        """Nobody else moves it."""


class JumpingBell(Bell):
    """Doesn't wait: the time is over at once."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout_s: float | None) -> None:
        assert timeout_s is not None, "nothing would ever wake the loop"
        self._clock.now += timeout_s


class Takeover(Exception):
    """Is not raised: the node returns, in an instance that may not commit any more."""


class Numbers(From):
    """A producer with state."""

    stateful = True


@dataclass(frozen=True)
class Call:
    """One execution of the node: in which life of its loop, of which message, when, and what it raised."""

    life: int
    n: int
    at: float
    raised: str


@dataclass(frozen=True)
class Dead:
    """One dead letter."""

    n: int
    type: str
    attempts: int


@dataclass
class Told:
    """What is known of one loop's day: its calls, its ends and starts, and what it left."""

    calls: list[Call] = field(default_factory=list)
    ends: list[tuple[str, float, float]] = field(default_factory=list)  # how a life ended, when, and the next start
    out: list[dict[str, int]] = field(default_factory=list)
    side: list[int] = field(default_factory=list)  # pushed by the node itself, before it raises
    dead: list[Dead] = field(default_factory=list)


class Day:
    """One day, by a seed."""

    def __init__(self, seed: int, length_s: float = HOURS_24_S) -> None:
        self.dice = random.Random(seed)
        self.clock = JumpingClock()
        self.host = MemoryHost("ns", clock=self.clock)
        self.length_s = length_s
        self.told = Told()
        self.life = 0

    def run(self) -> tuple[Told, Told]:
        """Live through it, and return what the producer's loop and what the other left."""
        options: dict[str, Any] = {"host": self.host, "clock": self.clock, "retry": RETRY, "push_queues": ("side",)}
        self._live(Small(Numbers(self._produce), (StatefulBy(self._unlucky),), settings=_SPACED, **options))
        first, self.told = self.told, Told()
        self._hand_over(len(first.out))
        self._live(Small(None, (StatefulBy(self._unlucky),), **options))
        return first, self.told

    def _produce(self, node: Any) -> Any:
        if self.dice.random() < 0.1:
            raise ConnectionError
        n = node.state["n"] = node.state.get("n", 0) + 1
        return {"n": n} if self.clock.now < self.length_s else LoopComplete()

    def _unlucky(self, node: Any, data: Any) -> Any:
        n = data["n"]
        node.state["sum"] = node.state.get("sum", 0) + n
        node.queue_manager.push("side", {"n": n})
        raised = self._misfortune()
        self.told.calls.append(Call(self.life, n, self.clock.now, type(raised).__name__ if raised else ""))
        if isinstance(raised, Takeover):
            self._take_over()
        elif raised is not None:
            raise raised
        return {"n": n, "sum": node.state["sum"]}

    def _misfortune(self) -> BaseException | None:
        luck = self.dice.random()
        if luck < 0.3:
            kinds = (ValueError(), OSError(), SystemExit(1), Retry(after=ASKED_S), Permanent("no"))
            return self.dice.choice(kinds)
        return Takeover() if luck < 0.32 else None

    def _take_over(self) -> None:
        """Have somebody else hold the loop from now on: this iteration must not commit."""
        self.small.epoch += 1
        self.host.incarnate(TenureSpec(KEY, self.small.epoch))

    def _live(self, small: Small) -> None:
        """Run one life after the other, until the loop completes."""
        self.small = small
        failures: tuple[float, ...] = ()
        while (outcome := self._one_life()).kind != "completed":
            ended, wait = self.clock.now, 0.0
            if outcome.kind == "failed":
                answer, failures = after_failure(RESTART, failures, now=ended, jitter=self.dice.random())
                assert not isinstance(answer, GiveUp)
                wait = answer
            self.clock.now += wait
            self.told.ends.append((outcome.kind, ended, self.clock.now))
        self.told.out = small.out()
        self.told.side = [message["n"] for message in _decoded(self.host.peek("side"))]
        self.told.dead = list(self._dead())

    def _one_life(self) -> Outcome:
        self.life += 1
        manager, tenure = self.small.open()
        tenure._bell = JumpingBell(self.clock)
        manager._chance = self.dice.random
        return manager.run()

    def _hand_over(self, count: int) -> None:
        """Make what the first loop pushed what the second one reads, and nothing else."""
        self.host.drop_loop(KEY)
        given, taken = self.host.queue("out"), self.host.queue("in")
        taken.waiting, taken.tail = given.waiting.copy(), count + 1
        given.waiting.clear()
        self.host.queue("side").waiting.clear()
        self.host.enter_writers({"in": ()})

    def _dead(self) -> Iterator[Dead]:
        for letter in self.host.queue("in").dead:
            yield Dead(decode(letter.item)[0]["n"], letter.reason["type"], letter.reason["attempts"])


def _decoded(items: list[bytes]) -> list[Any]:
    return [decode_item(item)[0] for item in items]


_SPACED: Final = {"interval_s": INTERVAL_S}


def breaches(producing: Told, processing: Told) -> list[str]:
    """Say what is wrong with a day. Pure."""
    numbers = [each["n"] for each in producing.out]
    found = []
    if numbers != list(range(1, len(numbers) + 1)):
        found.append("the producer lost, doubled or reordered something")
    if producing.dead:
        found.append("a loop without a queue has dead letters")
    done, dead = [each["n"] for each in processing.out], [each.n for each in processing.dead]
    if sorted(done + dead) != numbers or done != sorted(done) or dead != sorted(dead):
        found.append("a message is neither done nor dead, or both, or out of order")
    for name, told in (("producer", producing), ("reader", processing)):
        found += [f"{name}: {each}" for each in (*_of_one(told), *_of_attempts(told), *_of_restarts(told))]
    found += _of_dead(processing)
    return found


def _of_one(told: Told) -> Iterator[str]:
    total = 0
    for each in told.out:
        total += each["n"]
        if each["sum"] != total:
            yield f"the sum at {each['n']} is {each['sum']}, not {total}: state and messages did not commit together"
            break
    if told.side != [each["n"] for each in told.out]:
        yield "what a node pushed did not commit with its iteration, or did without it"


def _of_attempts(told: Told) -> Iterator[str]:
    """Each attempt comes as late as it may, and none comes after the last."""
    count = 1
    for one, other in zip(told.calls, told.calls[1:], strict=False):
        if (one.life, one.n) != (other.life, other.n) or not one.raised:
            count = 1
            continue
        waited = other.at - one.at
        if one.raised == "Permanent" or count >= RETRY.max_attempts:
            yield f"{one.n} was tried again after {one.raised} in attempt {count}"
        if one.raised == "Retry" and abs(waited - ASKED_S) > _LITTLE:
            yield f"{one.n} was tried again after {waited} s, not the {ASKED_S} s that it asked for"
        if one.raised != "Retry" and waited > _backoff_s(count) + _LITTLE:
            yield f"{one.n} was tried again after {waited} s, more than {_backoff_s(count)} s"
        count += 1


def _backoff_s(count: int) -> float:
    return min(RETRY.max_backoff_s, RETRY.initial_backoff_s * RETRY.multiplier ** (count - 1))


def _of_restarts(told: Told) -> Iterator[str]:
    """The first failure in a window is made good at once; after the others the wait doubles, up to a limit."""
    failures: list[float] = []
    for kind, ended, began in told.ends:
        waited = began - ended
        if kind == "failed":
            failures = [at for at in failures if ended - at < RESTART.window_s]
            most = min(RESTART.max_backoff_s, RESTART.initial_backoff_s * 2.0 ** (len(failures) - 1)) if failures else 0
            failures.append(ended)
        else:
            most = 0
        if not most / 2 - _LITTLE <= waited <= most + _LITTLE:
            yield f"it was started {waited} s after its failure, not {most / 2} to {most}"


def _of_dead(told: Told) -> Iterator[str]:
    """A message is a dead letter for what was raised last, after as many attempts as were made in that life."""
    of: dict[int, list[Call]] = {}
    for call in told.calls:
        of.setdefault(call.n, []).append(call)
    for letter in told.dead:
        calls = of.get(letter.n, [])
        last = [call for call in calls if call.life == calls[-1].life]
        if (letter.type, letter.attempts) != (last[-1].raised, len(last)) if last else True:
            yield f"{letter} doesn't tell of {last}"
        elif letter.type != "Permanent" and letter.attempts != RETRY.max_attempts:
            yield f"{letter} was given up early"
    for each in told.out:
        if of[each["n"]][-1].raised:
            yield f"{each['n']} came through, and its last execution must not"
