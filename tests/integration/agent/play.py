"""Playing rows of the table of failures: an agent, a loop that misbehaves, innocent ones in its pool and in another."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.integration.agent.plans import counting
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import AT, HOST_MEMORY, MESSAGES, NODES, POOLS, Kind, Row, misbehaving
from treadle.queues.codec import encode_item
from treadle.queues.stats import DeadLetterEntry
from treadle.workflow.plan import OnExhausted, Plan, Pool
from treadle_agent.supervisor.restart import HOST_BURST, HOST_WINDOW_S

PATIENCE_S = 60.0
ROOM = 96 << 20  # that memory may not be back by: pages that were shared before a host was replaced
ALL = list(range(MESSAGES))
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_EVENTS = {
    Kind.POISON: {"loop-isolated", "dead-letter"},
    Kind.STALL: {"host-stalled"},
    Kind.IMPORT: {"loop-failed"},
    Kind.PASSES: set(),
}


@dataclass(frozen=True)
class Facts:
    """What was seen of one play. Times in seconds: of the innocent loop without a commit, of the supervisor without a
    word, and how late a bystander on the same machine came at worst."""

    row: Row
    pool: Pool
    policy: OnExhausted
    state: str
    dead: int
    restarts: int
    events: tuple[str, ...]
    took_s: float
    pause_s: float
    silence_s: float
    late_s: float

    @property
    def most_pause_s(self) -> float:
        """How long the innocent loop may have been without a commit."""
        stalls = self.row.kind_in(self.pool) is Kind.STALL or self.row.how == "import hangs"
        return 6.0 if stalls else 0.5

    def line(self) -> str:
        """Return it as a line of the report."""
        said = f"{self.row.name:<30} {self.pool:<8} {self.policy:<13} {self.state:<8} dead {self.dead}"
        times = f"pause {self.pause_s:5.2f} s  heartbeat {self.silence_s:4.2f} s  late {self.late_s:4.2f} s"
        return f"{said}  restarts {self.restarts}  {times}  {', '.join(self.events)}"


@dataclass
class Stand:
    """An agent with innocent loops: `good` in the pool of those that misbehave, `far` in another one."""

    controller: ScriptedController
    agent: AgentProcess
    pool: Pool
    folder: Path
    plays: int = 0
    deaths: list[float] = field(default_factory=list)  # when its shared host was ended by a play, at the latest
    processes: int = field(init=False)
    memory: int = field(init=False)

    def __post_init__(self) -> None:
        far = POOLS[(POOLS.index(self.pool) + 1) % len(POOLS)]
        self._put(counting("good", self.pool, "good"), counting("far", far, "far"))
        for loop in ("good", "far"):
            self.controller.wait_state(loop, "RUNNING")
        self.far = self.controller.statuses["far"].incarnation
        self.processes = len(self.agent.processes())
        self.memory = self._memory()

    def _put(self, *plans: Plan) -> None:
        self.controller.assign(*(replace(plan, interval_s=0.02) for plan in plans))

    def play(self, row: Row, policy: OnExhausted = "dead-letter") -> Facts:
        """Play a row, check everything that is specified of it but times, and take the loop away again."""
        self.plays += 1
        name, controller = f"bad{self.plays}", self.controller
        began = time.monotonic()
        controller.longest_silence_s = controller.longest_late_s = 0.0
        seen = len(controller.events)
        controller.assign(misbehaving(row, self.pool, self.folder / f"once{self.plays}", name=name, policy=policy))
        self._feed(name)
        pause = self._watch(lambda: self._is_settled(row, policy, name))
        self._check(row, policy, name)
        status = controller.statuses[name]
        mine = self._events(row, name, seen)
        facts = Facts(
            row,
            self.pool,
            policy,
            controller.state(name),
            len(self.dead(name)),
            status.restarts,
            tuple(dict.fromkeys(mine)),
            time.monotonic() - began,
            pause,
            controller.longest_silence_s,
            controller.longest_late_s,
        )
        if self.pool != "process" and row.kind_in(self.pool) in (Kind.POISON, Kind.STALL, Kind.IMPORT):
            self.deaths.append(time.monotonic())
        self._cure(row, policy, name)
        self._check_innocents()
        controller.release(name)
        controller.wait(lambda: self._is_over(name), f"{name} is let go")
        self.processes += row.leaves if self.pool != "process" else 0
        self._check_rest()
        return facts

    def _feed(self, name: str) -> None:
        items = [encode_item({"n": n}) for n in ALL]
        self.controller.do(lambda admin: admin.push(f"{name}-in", items))

    def _watch(self, done: Callable[[], bool]) -> float:
        """Wait until all is done; returns the longest time that the innocent loop committed nothing."""
        deadline = time.monotonic() + PATIENCE_S
        longest, pushed, since = 0.0, -1, time.monotonic()
        while True:
            now = time.monotonic()
            figures = self.controller.queue("good").pushed
            longest = max(longest, now - since)
            if figures != pushed:
                pushed, since = figures, now
            if done():
                return longest
            assert now < deadline, f"{self.controller.history[-20:]} {self.controller.events[-20:]}"

    def _is_settled(self, row: Row, policy: OnExhausted, name: str) -> bool:
        if self._ends_in_error(row, policy):
            return self.controller.state(name) == "ERROR"
        depths = self.controller.do(lambda admin: admin.depths([f"{name}-in"]))[f"{name}-in"]
        return bool(depths.pushed == MESSAGES and depths.depth == 0 and self.controller.state(name) == "RUNNING")

    def _ends_in_error(self, row: Row, policy: OnExhausted) -> bool:
        kind = row.kind_in(self.pool)
        return kind is Kind.IMPORT or (kind is Kind.EXHAUSTS and policy not in ("dead-letter", "skip"))

    def _check(self, row: Row, policy: OnExhausted, name: str) -> None:
        kind, status = row.kind_in(self.pool), self.controller.statuses[name]
        out, dead = self.out(name), self.dead(name)
        if kind is Kind.IMPORT:
            assert (out, dead) == ([], [])
        elif self._ends_in_error(row, policy):
            assert (out, dead) == (ALL[:AT], [])  # the message waits at the head of its queue, with those behind it
            stops = policy == "stop-workflow"
            assert (status.reason.code == "stop-workflow") is stops
            assert status.reason.node == ("out" if row.error == "NotEncodable" else "node")
            assert status.restarts == (0 if stops else 1)
        elif kind is Kind.POISON or (kind is Kind.EXHAUSTS and policy == "dead-letter"):
            assert out == [n for n in ALL if n != AT]
            assert [letter.number for letter in dead] == [AT + 1]
            assert row.error in str(dead[0].reason)
            assert status.restarts <= (4 if kind is Kind.POISON else 0)
        else:
            skipped = kind is Kind.EXHAUSTS
            assert (out, dead) == ([n for n in ALL if not (skipped and n == AT)], [])
            assert status.restarts <= (1 if kind is Kind.STALL or row.how == "leaks" else 0)
        if kind is not Kind.IMPORT and not self._ends_in_error(row, policy):
            assert (name, "ERROR") not in self.controller.history

    def _events(self, row: Row, name: str, seen: int) -> list[str]:
        """Wait for the events that have to come, and return all of the loop but its starts."""
        told = set(_EVENTS.get(row.kind_in(self.pool), set()))
        told |= {"loop-failed"} if self.controller.state(name) == "ERROR" else set()

        def mine() -> list[str]:
            return [code for loop, code in self.controller.events[seen:] if loop == f"w/{name}/0"]

        self.controller.wait(lambda: told <= set(mine()), f"the events {told}")
        assert mine().count("dead-letter") <= 1
        return [code for code in mine() if code != "loop-started"]

    @property
    def is_crowded(self) -> bool:
        """Whether the shared host has died so often lately that after another death its successor would wait."""
        now = time.monotonic()
        return sum(1 for at in self.deaths if now - at < HOST_WINDOW_S) >= HOST_BURST

    def _cure(self, row: Row, policy: OnExhausted, name: str) -> None:
        """Mend what made a loop fail for good: a restart brings it back, and nothing was lost meanwhile."""
        if self._ends_in_error(row, policy) and row.kind_in(self.pool) is not Kind.IMPORT:
            (self.folder / f"{name}.cured").touch()
            self.controller.change(name, restart_generation=1)
            self.controller.wait(lambda: self.out(name) == ALL, "everything comes through after a restart")
            assert self.dead(name) == []

    def _check_innocents(self) -> None:
        for loop in ("good", "far"):
            numbers = self.numbers(loop)
            assert numbers == list(range(len(numbers))), f"{loop} lost or doubled something"
            assert (f"w/{loop}/0", "loop-failed") not in self.controller.events
            assert not {(loop, "ERROR"), (loop, "BACKOFF")} & set(self.controller.history)
        assert self.controller.statuses["far"].incarnation == self.far, "a loop of another host has noticed"

    def _check_rest(self) -> None:
        wait = self.controller.wait
        wait(lambda: len(self.agent.processes()) <= self.processes, "no process more than before")
        wait(lambda: self._memory() <= self.memory + ROOM, "memory is back")

    def _is_over(self, name: str) -> bool:
        return self.controller.state(name) in ("STOPPED", "ERROR")

    def clean_up(self) -> None:
        """End whatever is left."""
        self.agent.clean_up()
        self.controller.stop()

    def _memory(self) -> int:
        return sum(_pss(pid) for pid in self.agent.processes())

    def out(self, name: str) -> list[int]:
        """Return what came through, in order."""
        return [item[0]["n"] for item in self.controller.peek(f"{name}-out", 1000)]

    def dead(self, name: str) -> Sequence[DeadLetterEntry]:
        """Return what did not."""
        found: list[DeadLetterEntry] = self.controller.do(lambda admin: admin.dead_letters(f"{name}-in"))
        return found

    def numbers(self, loop: str) -> list[int]:
        """Return what an innocent loop pushed."""
        return [item[0]["n"] for item in self.controller.peek(loop, 1_000_000)]


class Stands:
    """A stand for as many plays of one pool as go well, and as its host may die in a row.

    One at a time, since gRPC's event loops share a poller.
    """

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._redis_url = redis_url
        self._folder = folder
        self._stand: Stand | None = None
        self._made = 0

    def play(self, row: Row, pool: Pool, policy: OnExhausted) -> Facts:
        """Play a row. Whatever is wrong after it is shown with the log of its agent."""
        if self._stand is not None and (self._stand.pool != pool or self._stand.is_crowded):
            self.close()
        stand = self._stand = self._stand or self._make(pool)
        try:
            return stand.play(row, policy)
        except BaseException:
            print(stand.agent.text())  # noqa: T201 - shown by pytest when a test fails
            self._stand = None
            stand.clean_up()
            raise

    def _make(self, pool: Pool) -> Stand:
        self._made += 1
        folder = self._folder / f"{pool}{self._made}"
        folder.mkdir()
        controller = ScriptedController(self._redis_url)
        controller.start()
        nodes = [argument for path in NODES for argument in ("--nodes", path)]
        limits = {"TREADLE_AGENT_HOSTS__MEMORY": str(HOST_MEMORY)}
        address = f"127.0.0.1:{controller.port}"
        agent = AgentProcess(address, self._redis_url, folder / "agent.log", *nodes, **limits)
        controller.wait(lambda: controller.hellos or agent.process.poll() is not None, "a Hello")
        return Stand(controller, agent, pool, folder)

    def close(self) -> None:
        """Stop the agent as systemd does: it ends well, and leaves no process."""
        stand, self._stand = self._stand, None
        if stand is not None:
            try:
                assert stand.agent.terminate() == 0
                assert stand.agent.gone()
            finally:
                stand.clean_up()


def _pss(pid: int) -> int:
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))
    except OSError:
        return 0
    return 0 if found is None else int(found[1]) * 1024
