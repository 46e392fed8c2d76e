"""LoopHarness and WorkflowHarness: loops of a workflow document, each in a thread, over queues in memory."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from treadle.catalog import Catalog, load
from treadle.clock import DrivenClock
from treadle.errors import ConfigError
from treadle.loop.build import build_nodes
from treadle.loop.manager import LoopManager
from treadle.loop.outcome import Outcome
from treadle.loop.state import VERSION_KEY
from treadle.loop.stats import LoopSnapshot
from treadle.node import Node
from treadle.queues.codec import decode, encode_item
from treadle.queues.memory import MemoryHost
from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.testing.expecting import DeadMessage, expect_messages
from treadle.testing.failure import LoopFailedError
from treadle.testing.faults import Faults
from treadle.testing.stillness import Stillness, WatchedBell
from treadle.workflow import Compiled, Plan, check, read_document, workflow_name

NAMESPACE: Final = "test"
_STEP_S: Final = 0.0625  # how far `run` moves the clock when nothing moves by itself; exact in binary: no drift
_JOIN_S: Final = 30.0

Document = Mapping[str, Any] | str | Path


class WorkflowHarness:
    """Runs a workflow document in this process, on a clock that only moves when it is told to.

    `document` is the document or the path of its file. `nodes` are classes of yours beside those that are
    installed. Loops of the asyncio pool are tasks, all others threads. Use it in a `with` statement: loops start at
    its beginning and are stopped at its end. `seed` is for the jitter of retries. A message that becomes a dead letter
    fails the test like a loop that fails, unless `dead_letters` is "keep".
    Raises ConfigError with all findings for a document that has errors.
    """

    def __init__(
        self,
        document: Document,
        *,
        nodes: Iterable[type[Node[Any]]] = (),
        clock: DrivenClock | None = None,
        secrets: Mapping[str, str] | None = None,
        seed: int = 0,
        dead_letters: Literal["fail", "keep"] = "fail",
    ) -> None:
        catalog = _catalog(nodes)
        self.clock = clock or DrivenClock()
        self.compiled = _compiled(document, catalog)
        self._host = MemoryHost(NAMESPACE, clock=self.clock)
        self._stillness = Stillness()
        self._lives: list[_Life] = []
        self._crashed: list[_Life] = []
        self._classes = catalog.classes
        self._secrets = dict(secrets or {})
        self._faults = Faults()
        self._chance = random.Random(seed).random  # noqa: S311 - jitter that a test can repeat
        self._keep_dead_letters = dead_letters == "keep"

    @property
    def plans(self) -> Sequence[Plan]:
        """The loops that run here."""
        return self.compiled.plans

    def __enter__(self) -> Self:
        keys = {plan.loop: _keys(plan) for plan in self.plans}
        # All writers before any loop, as the controller does: else a reader could see an end too early.
        for queue in self.compiled.queues:
            # Where none of its writers runs here the test is the writer, and says when that is over by `end`.
            if here := [key for name in queue.writers for key in keys.get(name, ())]:
                self._host.enter_writers({queue.name: here})
        self._lives = [self._begin(plan, key) for plan in self.plans for key in keys[plan.loop]]
        for life in self._lives:
            life.start()
        return self

    def __exit__(self, *_: object) -> None:
        for life in (*self._lives, *self._crashed):
            life.stop()
        for life in (*self._lives, *self._crashed):
            life.join()
        asyncio.run(self._host.stop())

    def run(self, seconds: float | None = None, *, limit: float = 600.0) -> None:
        """Let everything happen: until all loops have completed, or for so many seconds on the driven clock.

        Raises LoopFailedError when a loop fails, TimeoutError when not all complete within `limit` seconds of it.
        """
        passed, limit = 0.0, limit if seconds is None else seconds
        self.settle()
        while not self.completed and passed < limit:
            self.advance(min(_STEP_S, limit - passed))
            passed += _STEP_S
        if seconds is None and not self.completed:
            running = ", ".join(str(life.key) for life in self._lives if life.outcome is None)
            raise TimeoutError(f"not completed after {limit} s on the driven clock: {running}")

    def settle(self) -> None:
        """Wait until nothing moves by itself any more. Raises LoopFailedError when a loop has failed."""
        self._stillness.wait()
        for life in self._lives:
            life.check()
        if not self._keep_dead_letters:
            self._refuse_dead_letters()

    def advance(self, seconds: float) -> None:
        """Move the clock on in one step, and wait until nothing moves any more."""
        self.clock.advance(seconds)
        self.settle()

    def push(self, queue: str, *payloads: Mapping[str, Any]) -> None:
        """Push messages from outside, and wait until nothing moves any more."""
        self._host.push(queue, [encode_item(payload) for payload in payloads])
        self.settle()

    def fail(self, node: str, times: int | None = 1, error: BaseException | None = None) -> None:
        """Let the next executions of a node raise `error`, InjectedFailure by default; None times is always.

        May be called before the loops start.
        """
        if all(step.node != node for plan in self.plans for step in plan.steps):
            raise ConfigError(f"there is no node {node!r} here")
        self._faults.add(node, times, error)

    def hold(self) -> None:
        """Let no commit through until `release`: iterations pile up in flight."""
        self._host.hold()

    def release(self, commits: int | None = None) -> None:
        """Let commits through again: all from now on, or just so many of those that wait."""
        self._host.release(commits)
        self.settle()

    def crash(self, *loops: str) -> None:
        """End loops (all of them, if none is named) as kill -9 would, and start them from what they had committed."""
        crashed = [life for life in self._lives if not loops or life.key.loop in loops]
        plans = {plan.loop: plan for plan in self.plans}
        for life in crashed:
            successor = self._begin(plans[life.key.loop], life.key)  # a newer instance fences the older one
            self._lives[self._lives.index(life)] = successor
            self._crashed.append(life)
            successor.start()
        self.settle()

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Return the payloads that wait in a queue, oldest first."""
        return [decode(item)[0] for item in self._host.peek(queue)]

    def dead_letters(self, queue: str) -> list[DeadMessage]:
        """Return the dead letters of a queue, oldest first."""
        return [DeadMessage.read(letter) for letter in self._host.queue(queue).dead]

    def expect_pushed(self, queue: str, *payloads: Mapping[str, Any]) -> None:
        """Assert that exactly these messages wait in a queue."""
        expect_messages(queue, self.messages(queue), payloads)

    def expect_dead(self, queue: str, *payloads: Mapping[str, Any], error: str | None = None) -> None:
        """Assert that exactly these messages of a queue are dead letters, for exceptions of this name if given."""
        letters = self.dead_letters(queue)
        expect_messages(f"dead letters of {queue}", [letter.payload for letter in letters], payloads)
        for letter in letters:
            if error is not None and letter.reason["type"] != error:
                raise AssertionError(f"{letter.payload!r} is dead for a {letter.reason['type']}, not a {error}")

    def expect_committed(self, **loops: int) -> None:
        """Assert how many iterations of loops have committed."""
        found = {name: self.committed.get(name) for name in loops}
        if found != loops:
            raise AssertionError(f"committed iterations: {found}, not {loops}")

    @property
    def completed(self) -> bool:
        """Whether all loops have completed."""
        return all(life.outcome is not None and life.outcome.kind == "completed" for life in self._lives)

    @property
    def committed(self) -> dict[str, int]:
        """Iterations committed so far, by loop, replicas and earlier instances added up."""
        totals: dict[str, int] = {}
        for life in (*self._lives, *self._crashed):
            totals[life.key.loop] = totals.get(life.key.loop, 0) + life.stats.committed
        return totals

    def stats(self, loop: str, replica: int = 0) -> LoopSnapshot:
        """Return a loop's figures, those of its nodes included."""
        return next(life for life in self._lives if (life.key.loop, life.key.replica) == (loop, replica)).stats

    def state(self, loop: str, node: str, replica: int = 0) -> dict[str, Any]:
        """Return what a node keeps, as it was committed last."""
        record = self._host.loops[LoopKey(self.compiled.workflow, loop, replica)]
        return {key: decode(value) for key, value in record.state.get(node, {}).items() if key != VERSION_KEY}

    def _begin(self, plan: Plan, key: LoopKey) -> _Life:
        tenure = self._host.incarnate(self._spec(plan, key))
        bell = self._stillness.bell()
        tenure._bell = bell  # noqa: SLF001 - the one place to learn whether a loop waits
        nodes = build_nodes(plan, self._classes, secret=self._secrets.__getitem__)
        self._faults.plant(nodes)
        manager = LoopManager(plan, nodes, tenure, clock=self.clock, revision="test", chance=self._chance)
        return _Life(key, manager, bell, as_task=plan.pool == "asyncio")

    def _refuse_dead_letters(self) -> None:
        for name, queue in list(self._host.queues.items()):
            for letter in queue.dead:
                reason = letter.reason
                message = (
                    f"a message of {name} is a dead letter: {reason['node']}: {reason['type']}: {reason['message']}"
                )
                raise LoopFailedError(f"{message}\n{reason['traceback']}".rstrip(), queue=name, reason=reason)

    def _spec(self, plan: Plan, key: LoopKey) -> TenureSpec:
        queues = {queue.name: queue for queue in self.compiled.queues}
        return TenureSpec(
            key,
            epoch=1,
            reads=plan.reads,
            writes={name: queues[name].limits for name in plan.writes},
            stateful=tuple(step.node for step in plan.steps if step.uses and self._classes[step.uses].stateful),
            never_ends=tuple(name for name in plan.reads if queues[name].external or queues[name].on_cycle),
            max_in_flight=plan.max_in_flight,
            max_in_flight_bytes=plan.max_in_flight_bytes,
        )


class LoopHarness(WorkflowHarness):
    """Runs one loop of a workflow document, with its tails: the test is what is at the other ends of its queues.

    `end(queue)` says that no more will be pushed, so that the loop can complete.
    """

    def __init__(self, document: Document, *, loop: str, **options: Any) -> None:
        super().__init__(document, **options)
        self._loop = loop
        if not self.plans:
            names = ", ".join(plan.loop for plan in self.compiled.plans)
            raise ConfigError(f"there is no loop {loop!r}; there are {names}")

    @property
    def plans(self) -> Sequence[Plan]:
        """The loop and the tails that hang on it."""
        return [plan for plan in self.compiled.plans if f"{plan.loop}~".startswith(f"{self._loop}~")]

    def end(self, *queues: str) -> None:
        """Say that no more messages come (for all queues that the loop reads, if none is named)."""
        pushed_here = {name for plan in self.plans for name in plan.writes}
        for name in queues or {name for plan in self.plans for name in plan.reads} - pushed_here:
            self._host.enter_writers({name: ()})
        self._host.ring_all()
        self.settle()


class _Life:
    """One replica of a loop in a thread of its own."""

    def __init__(self, key: LoopKey, manager: LoopManager, bell: WatchedBell, *, as_task: bool) -> None:
        self.key = key
        self.outcome: Outcome | None = None
        self._manager = manager
        self._bell = bell
        self._as_task = as_task
        self._thread = threading.Thread(target=self._live, name=f"loop {key}", daemon=True)

    @property
    def stats(self) -> LoopSnapshot:
        return self._manager.stats()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._manager.stop()

    def join(self) -> None:
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.key} did not stop within {_JOIN_S} s")

    def check(self) -> None:
        error = None if self.outcome is None else self.outcome.error
        if error is not None:
            where = f"{self.key.loop}/{error.node}" if error.node else self.key.loop
            message = f"{where}: {error.type}: {error.message}\n{error.traceback}".rstrip()
            raise LoopFailedError(message, loop=self.key.loop, error=error)

    def _live(self) -> None:
        try:
            self.outcome = asyncio.run(self._manager.run_async()) if self._as_task else self._manager.run()
        finally:
            self._bell.end()


@functools.cache
def _installed() -> Catalog:
    return load()


def _catalog(nodes: Iterable[type[Node[Any]]]) -> Catalog:
    installed = _installed()
    catalog = Catalog(dict(installed.classes), list(installed.types))
    for node in nodes:
        catalog.add(node, source="test", digest="")
    if catalog.errors:
        raise catalog.errors[0]
    return catalog


def _compiled(document: Document, catalog: Catalog) -> Compiled:
    raw = Path(document).read_bytes() if isinstance(document, str | Path) else json.dumps(document).encode()
    stem = Path(document).stem if isinstance(document, str | Path) else "test"
    read = read_document(raw)
    findings = list(read.findings)
    if read.document is not None:
        node_types = {described.uses: described for described in catalog.types}
        checked = check(read.document, name=workflow_name(read.document, stem), node_types=node_types)
        if checked.compiled is not None:
            return checked.compiled
        findings += checked.findings
    told = "\n".join(f"{f.pointer}: {f.code}: {f.message}" for f in findings if f.severity == "error")
    raise ConfigError(f"the workflow has errors:\n{told}", findings=findings)


def _keys(plan: Plan) -> list[LoopKey]:
    return [LoopKey(plan.workflow, plan.loop, replica) for replica in range(plan.replicas)]
