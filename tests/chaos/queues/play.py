"""A play: loops as real processes on a real server, faults as they become due, and what is left at the end."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.queues.cast import Actor, Process, Zombie
from tests.chaos.queues.checker import takeovers, violations
from tests.chaos.queues.flow import READS, ROLES, WORKFLOW, WRITES, Order, Report
from tests.chaos.queues.history import Expected, History
from tests.chaos.queues.nodes import Gate, value_of
from tests.chaos.queues.nursery import Nursery
from tests.chaos.queues.patches import Patch
from tests.chaos.queues.stage import Stage
from tests.cutting_proxy import CuttingProxy
from tests.servers import TestServer
from treadle.errors import QueueError
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import QueueLimits

LOOK_S = 0.003
LAST_WORDS_S = 2.0
PATIENCE_S = 5.0
ZOMBIE_PATIENCE_S = 0.5
QUEUES = ("in", "out", "ledger")


@dataclass(frozen=True, slots=True)
class Script:
    """What is played. The same seed makes the same choices; what the machine does in between is its own."""

    seed: int
    total: int
    limit: int | None = 1000
    burst: int = 8
    sums: bool = True
    ledger: bool = True
    slots: int = 1
    patience_s: float = 20.0  # without any progress
    may_fail: bool = False  # nodes may fail: entries were put in by hand
    may_roll_back: bool = False
    patches: tuple[Patch, ...] = ()


@dataclass(slots=True)
class Result:
    """How it went."""

    violations: list[str]
    bites: Counter[str]
    messages: int
    takeovers: int
    seconds: float
    history: History = field(default_factory=History)


Fault = Callable[["Play"], None]


class Play:
    """See the module. `perform` does it all."""

    def __init__(
        self, script: Script, server: TestServer, folder: Path, namespace: str, proxy: CuttingProxy | None = None
    ) -> None:
        self.script = script
        self.server = server
        self.proxy = proxy
        self.random = random.Random(script.seed)
        self.bites: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.entries_by_hand = 0
        self.actors: dict[LoopKey, Actor] = {}
        self.zombies: list[Zombie] = []
        self.retired: set[LoopKey] = set()  # transforms that were scaled away, whose state stays
        self._folder = folder
        (folder / "gate").write_bytes(bytes(8))
        self._gate = Gate(folder / "gate")
        self._processes: list[Process] = []
        self._url = proxy.url if proxy else server.url
        self._moved = (0.0, (0, 0))
        lua = [patch for patch in script.patches if patch.file.endswith(".lua")]
        self.stage = Stage(server.url, namespace, lua)
        self._nursery = Nursery(folder, [patch for patch in script.patches if patch not in lua])

    # The whole

    def perform(self, faults: Sequence[tuple[float, Fault]]) -> Result:
        """Play to the end. A fault is due when that share of all messages has been through."""
        began = time.monotonic()
        try:
            self._begin()
            due = sorted(faults, key=lambda fault: fault[0])
            self._let(due[0][0] if due else 1.0, 0.0)
            while not self._over():
                done = self.progress()
                if due and done >= due[0][0]:
                    _, fault = due.pop(0)
                    self._let(due[0][0] if due else 1.0, done)
                    fault(self)
                self.look()
            self._lay_to_rest()
            self.bites["faults that came too late"] = len(due)
            return self._result(time.monotonic() - began)
        finally:
            self.close()

    def close(self) -> None:
        """Send everybody home."""
        for process in self._processes:
            process.forget()
        self._nursery.close()
        self.stage.close()

    def _let(self, next_fault: float, done: float) -> None:
        """Let the source go on, but not far beyond the next fault; there is always something to do during this one."""
        self._gate.upto = max(self._gate.upto, int(max(next_fault + 0.02, done + 0.05) * self.script.total) + 1)

    def let_more(self, share: float = 0.15) -> None:
        """Give the source something to do, whatever it has done so far."""
        self._gate.upto = max(self._gate.upto, self.stage.field("in", "tail") + int(share * self.script.total))

    def _begin(self) -> None:
        keys = [LoopKey(WORKFLOW, role) for role in ROLES]
        keys += [LoopKey(WORKFLOW, "transform", replica) for replica in range(1, self.script.slots)]
        self.enter(keys)
        limits = QueueLimits(self.script.limit, None)
        self.stage.limit({"in": limits, "out": limits, "ledger": QueueLimits(None, None)})
        epochs = {key: self.stage.next_epoch() for key in keys}
        self.stage.assign(epochs)
        slots = [key for key in keys if key.loop == "transform"]
        if len(slots) > 1:
            epochs = {key: self.stage.next_epoch() for key in keys}
            self.stage.scale(epochs, "in", slots)
        for key, epoch in epochs.items():
            self.spawn(key, epoch)

    def enter(self, keys: Sequence[LoopKey], drop: Sequence[LoopKey] = ()) -> None:
        """Enter loops as writers of their queues."""
        queues: dict[str, list[LoopKey]] = {}
        dropped: dict[str, list[LoopKey]] = {}
        for into, loops in ((queues, keys), (dropped, drop)):
            for key in loops:
                into.setdefault(WRITES[key.loop], []).append(key)
        self.stage.enter(queues, dropped)

    def spawn(self, key: LoopKey, epoch: int) -> Actor:
        """Start a process for a loop; who ran it before is for the caller to deal with."""
        script = self.script
        report = self._folder / f"report-{len(self._processes)}.json"
        order = Order(
            role=key.loop,
            replica=key.replica,
            epoch=epoch,
            url=self._url,
            namespace=self.stage.namespace,
            redis_id=self.stage.redis_id,
            report=str(report),
            total=script.total,
            burst=script.burst,
            seed=script.seed,
            sums=script.sums,
            ledger=script.ledger,
            max_in_flight=self.random.choice((1, 7, 64, 500, 4096, 4096)),
            limit=script.limit,
            gate=str(self._folder / "gate"),
        )
        born_at = self.stage.tenure(key)[2]
        process = Process(self._nursery.bear(order), report)
        self._processes.append(process)
        actor = Actor(key.loop, key, epoch, process, born_at)
        self.actors[key] = actor
        return actor

    # Looking after them

    def progress(self) -> float:
        """Return the share of the messages that are through."""
        try:
            done = self.stage.field("out", "done") + self.stage.field("out", "dropped") + self._dropped_in()
        except QueueError:
            return 0.0
        tail = sum(actor.completed for actor in self.actors.values())
        now = (done, tail)
        if now != self._moved[1]:
            self._moved = (time.monotonic(), now)
        return done / self.script.total

    def _dropped_in(self) -> int:
        return self.stage.field("in", "dropped")

    def look(self) -> None:
        """Beat, take reports, wake zombies; then rest a little."""
        try:
            if self.stage.beat():
                self.renew("a beat fell")
            for actor in list(self.actors.values()):
                report = None if actor.completed or actor.process.dead else actor.process.report()
                if report is not None and self.actors.get(actor.key) is actor:
                    self._ended(actor, report)
            for zombie in self.zombies:
                self._tend(zombie)
        except QueueError:
            self.bites["moments without a server"] += 1
        time.sleep(LOOK_S)

    def wait_for(self, true: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
        """Look until something is true; False when it never was."""
        deadline = time.monotonic() + patience_s
        while not true():
            if time.monotonic() > deadline:
                return False
            self.look()
        return True

    def _ended(self, actor: Actor, report: Report) -> None:
        if report.outcome == "completed":
            actor.completed = True
            return
        reason = report.code if report.outcome == "lost" else report.outcome
        self.bites[f"restarted: {reason}"] += 1
        if reason == "gap":
            self.renew("a loop saw a gap")
            return
        if reason == "fenced" and self.stage.tenure(actor.key)[0] < actor.epoch:
            self.renew("an epoch fell")
            return
        if reason not in self._harmless():
            self.wrong.append(f"{reason}: {actor.key} ended: {report.detail}")
        if self.bites[f"restarted: {reason}"] > 300:
            self.wrong.append(f"stalled: restarted {reason} again and again")
        self.spawn(actor.key, actor.epoch)

    def _harmless(self) -> set[str]:
        harmless = {"shifted", "bad-type", "unreachable"}
        if self.script.may_fail:
            harmless |= {"failed"}
        if self.script.may_roll_back:
            harmless |= {"fenced"}
        return harmless

    def _tend(self, zombie: Zombie) -> None:
        if zombie.paused:
            moved = self.stage.tenure(zombie.key)[2] > zombie.wakes_at
            if moved or time.monotonic() > zombie.wakes_by:
                zombie.paused = False
                zombie.process.resume()
                self.bites["zombies woken after their successor had committed"] += moved
        elif zombie.code is None and (report := zombie.process.report()) is not None:
            zombie.code = report.code or report.outcome
            self.bites[f"zombies ended: {zombie.code}"] += 1

    def renew(self, why: str) -> None:
        """Give every loop a new epoch before any goes on: the server has lost writes."""
        if not self.script.may_roll_back:
            self.wrong.append(f"gap: {why} though the server lost nothing")
        self.bites["rolled back"] += 1
        # Redis 7.0 leaves a torn transaction in a log that it cut, and half of it comes back at the next start.
        self.stage.rewrite_log()
        self.stage.load_functions()
        self.enter(list(self.actors))
        epochs = {key: self.stage.next_epoch() for key in self.actors}
        self.stage.assign(epochs)
        for key, epoch in epochs.items():
            self.leave_behind(self.actors[key])
            self.spawn(key, epoch)

    def leave_behind(self, actor: Actor, *, paused: bool = False) -> None:
        """Let the process of a loop become a zombie."""
        if actor.completed or actor.process.dead or actor.process.report() is not None:
            return
        seq, by = self.stage.tenure(actor.key)[2], time.monotonic() + ZOMBIE_PATIENCE_S
        self.zombies.append(Zombie(actor.process, actor.key, paused, seq, by))

    # The end

    def _over(self) -> bool:
        if all(actor.completed for actor in self.actors.values()) or (self.script.patches and self.wrong):
            return True
        if self._moved[0] == 0.0:
            self._moved = (time.monotonic(), self._moved[1])
        if time.monotonic() - self._moved[0] > self.script.patience_s:
            waiting = [self._state_of(actor) for actor in self.actors.values() if not actor.completed]
            self.wrong.append(f"stalled: {waiting} at {self.progress():.0%} for {self.script.patience_s} s")
        return any(sentence.startswith("stalled") for sentence in self.wrong)

    def _state_of(self, actor: Actor) -> str:
        """Say what there is to know about a loop that does not go on."""
        queue = READS[actor.role]
        record = self.stage.command("HGETALL", self.stage.keys.record(queue)) if queue else None
        return f"{actor.key} ({actor.process.state()}, {self.stage.tenure(actor.key)}) reads {record}"

    def _lay_to_rest(self) -> None:
        """Wait until every zombie has noticed."""
        deadline = time.monotonic() + LAST_WORDS_S
        while any(zombie.code is None for zombie in self.zombies) and time.monotonic() < deadline:
            for zombie in self.zombies:
                self._tend(zombie)
            time.sleep(LOOK_S)
            if any(sentence.startswith("stalled") for sentence in self.wrong) or self.script.patches:
                return
        # One that was paused with its last commit or an answer on its way was done before; the witness judges fences.
        allowed = {"fenced", "shifted", "completed"}
        if self.script.may_roll_back:
            allowed.add("gap")
        for zombie in self.zombies:
            if zombie.code is None:
                self.bites["zombies that did nothing any more"] += 1  # nobody told them, and nothing woke them
            elif zombie.code not in allowed:
                self.wrong.append(f"zombie: {zombie.key} was taken over and ended as {zombie.code}")

    def _result(self, seconds: float) -> Result:
        script = self.script
        for actor in self.actors.values():
            actor.process.kill()
        for queue in READS.values():  # what was put in after the last push was met by nobody
            if queue is not None:
                self.stage.repair(queue)
        history = self.stage.history()
        transforms = {key for key in (*self.actors, *self.retired) if key.loop == "transform"}
        names = [name for name in QUEUES if name != "ledger" or script.ledger]
        self.dump = dump = self.stage.dump(names, transforms, sums=script.sums)
        expected = Expected(
            script.total,
            keeps_ledger=script.ledger,
            in_order=len(transforms) == 1,
            entries_by_hand=self.entries_by_hand,
        )
        # Nobody gives an answer that only a bug can bring, but to a ghost that asks for it.
        for answer in ("commit CONFLICT", "commit GAP"):
            if history.answers[answer] > self.bites[f"ghosts: {answer}"] and not script.may_roll_back:
                self.wrong.append(f"sequence: {history.answers[answer]} times {answer}")
        found = self.wrong + violations(history, dump, expected, value_of)
        moved = sum(queue.tail - 1 for queue in dump.queues.values())
        return Result(found, self.bites, moved, takeovers(history), seconds, history)
