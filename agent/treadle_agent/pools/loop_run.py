"""One run of one loop inside a pool host: its nodes, its tenure, its LoopManager, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from treadle.errors import QueueError, TenureLost, TreadleError
from treadle.loop import incident as loop
from treadle.loop.build import build_nodes
from treadle.loop.manager import LoopManager
from treadle.loop.outcome import LoopError, Outcome, loop_error
from treadle.loop.stats import LoopSnapshot, NodeSnapshot
from treadle.loop.trace import INSIDE, NUMBER
from treadle.node import Node
from treadle.queues.redis_tenure import RedisTenure
from treadle.queues.tenure import Suspicion, TenureSpec
from treadle.workflow.plan import Plan, QueueLimits
from treadle_agent import page
from treadle_agent.frames import Assign, Began, Cleared, Ended, Figures, Incident, NodeFigures, QueueUse, Suspect, Why
from treadle_agent.page import Page
from treadle_agent.pools import limits, secrets
from treadle_agent.pools.classes import classes, known
from treadle_agent.pools.doing import Look, Watcher
from treadle_agent.pools.lines import text_of
from treadle_agent.pools.plans import read_plan, shared

if TYPE_CHECKING:
    from treadle.loop.tracing import Tracing
    from treadle.queues.pipeline import Pipeline

Verb = Literal["drain", "stop", "pause", "resume"]

_NO_CLASSES: Final[dict[str, type[Node[Any]]]] = {}
_NO_SOURCES: Final[dict[str, str]] = {}
_NO_QUEUES: Final[list[QueueUse]] = []

# These end a loop for good: somebody else holds it, its keys are not ours, or its past is not what it was.
_LOST_FOR_GOOD: Final = frozenset({"fenced", "bad-type", "gap"})
# After these it is tried again without blaming the loop: it did nothing.
_OUT_OF_REACH: Final = frozenset({"wrong-redis", "unreachable", "stopped"})

MAX_INCIDENTS: Final = 5
QUICK_PLAN: Final = 64 * 1024  # bytes of a plan that is read in well under a millisecond
MAX_STORY: Final = 2_000  # characters of a traceback among figures
IMPORT_LIMIT_S: Final = 10.0
GRACE_S: Final = 0.05  # past a deadline, for a node that is just done
CANCEL_S: Final = 2.0  # for an `async def` node to end once it is cancelled


class LoopRun:
    """See the module. A host calls `prepare`, opens a tenure for `spec`, then `manage`, then runs the manager.

    Control may come at any time and from any thread, also before there is a LoopManager.
    """

    __slots__ = (
        "_asked",
        "_classes",
        "_cleared",
        "_import_began",
        "_lock",
        "_manager",
        "_page",
        "_paused",
        "_plan",
        "_say",
        "_tenure",
        "_trace",
        "_tracing",
        "_watcher",
        "assign",
        "number",
        "own_process",
        "spec",
        "task",
        "thread",
        "timed",
    )

    def __init__(self, assign: Assign, shared: Page, tracing: Tracing | None = None) -> None:
        self.assign = assign
        self.own_process = False  # limits of the loop are those of its process
        self.number = assign.run
        self.spec: TenureSpec
        self._plan: Plan
        self._say: Callable[[Began | Cleared], None]
        self._page = shared
        self._lock = threading.Lock()
        self._asked: list[Verb] = ["pause"] if assign.paused else []
        self._manager: LoopManager | None = None
        self._tenure: RedisTenure | None = None
        self._paused = assign.paused
        self._watcher: Watcher | None = None
        self._tracing = tracing
        self._trace = shared.claim(assign.slot, assign.run)
        self._cleared = False
        self._import_began: float | None = None
        self.timed = False  # whether anything in it has a deadline
        self.thread = 0  # the thread that runs it, once there is one
        self.task: asyncio.Task[None] | None = None  # or its task

    @property
    def leaving(self) -> bool:
        """Whether it was told to end before it had begun."""
        return "drain" in self._asked or "stop" in self._asked

    def control(self, verb: Verb) -> None:
        """Drain, stop, pause or resume."""
        with self._lock:
            self._paused = verb == "pause" or (self._paused and verb != "resume")
            if self._manager is None:
                self._asked.append(verb)
            else:
                getattr(self._manager, verb)()

    @property
    def quick(self) -> bool:
        """Whether `prepare` takes so little time that an event loop may do it."""
        return len(self.assign.plan) <= QUICK_PLAN and known(self.assign.sources)

    def prepare(self) -> None:
        """Read the plan and import its node classes: `spec` is known then. Raises what imports raise."""
        self._plan = plan = read_plan(self.assign.plan)
        self.timed = plan.iteration_timeout_s is not None or any(s.attempt_timeout_s is not None for s in plan.steps)
        if self.own_process:
            limits.open_files(plan.resources.open_files)
            limits.memory(plan.resources.memory)
        self._classes = classes(self.assign.sources, self._importing)
        self._import_began = None
        self._trace[INSIDE] = 0
        stateful = [s.node for s in self._plan.steps if s.uses in self._classes and self._classes[s.uses].stateful]
        uses = {queue.name: queue for queue in self.assign.queues}
        self.spec = TenureSpec(
            key=self.assign.address.key,
            epoch=self.assign.epoch,
            reads=self._plan.reads,
            writes={name: _limits(uses.get(name)) for name in self._plan.writes},
            stateful=tuple(stateful),
            never_ends=tuple(name for name in self._plan.reads if name in uses and uses[name].never_ends),
            max_in_flight=self._plan.max_in_flight,
            max_in_flight_bytes=self._plan.max_in_flight_bytes,
            suspicion=shared(self._suspicion()),
        )
        # What has been read is as large as all else that an idle loop needs.
        self.assign = msgspec.structs.replace(self.assign, plan=b"", queues=_NO_QUEUES, sources=_NO_SOURCES)

    def _importing(self) -> None:
        self.thread = self.thread or threading.get_ident()
        self._trace[INSIDE] = 1
        self._import_began = time.monotonic()

    def _suspicion(self) -> Suspicion:
        suspect, first = self.assign.suspect, self._plan.steps[0]
        return Suspicion(
            careful=self.assign.careful,
            suspect=None if suspect is None else (suspect.queue, suspect.number),
            max_deliveries=first.max_deliveries,
            node=first.node,
            revision=str(self.assign.revision),
        )

    def manage(self, tenure: RedisTenure, say: Callable[[Began | Cleared], None]) -> LoopManager:
        """Make the nodes and their LoopManager, which says Began right before its first iteration.

        Raises what node constructors raise.
        """
        self._trace[INSIDE] = 1
        nodes = build_nodes(self._plan, self._classes, secret=secrets.get)
        self._trace[INSIDE] = 0
        manager = LoopManager(
            self._plan,
            nodes,
            tenure,
            revision=str(self.assign.revision),
            on_open=self._begin,
            trace=self._trace,
            tracing=self._tracing,
        )
        with self._lock:
            self._tenure, self._manager, self._say = tenure, manager, say
            for verb in self._asked:
                getattr(manager, verb)()
        self._classes = _NO_CLASSES
        return manager

    def _begin(self) -> None:
        say, tenure = self._say, self._tenure
        if tenure is None:
            return
        self._page.mark(self.assign.slot, page.RUNNING)
        say(Began(self.number, tenure.inc, time.time()))
        guard = tenure.guard
        if guard is not None:
            guard.on_done = lambda: say(Cleared(self.number, [Suspect(*each) for each in guard.dead]))
        elif self.assign.suspect is not None:
            say(Cleared(self.number))  # it was committed after all

    def placed(self, thread: int, ident: int) -> None:
        """Say which thread runs it: as Linux knows it, and as Python does."""
        self.thread = ident
        self._page.place(self.assign.slot, thread, ident)

    def over(self) -> None:
        """Free its slot in the shared page."""
        self._page.mark(self.assign.slot, page.IDLE)

    @property
    def importing(self) -> bool:
        return self._import_began is not None

    def progress(self) -> object | None:
        """Return what changes with every step forward, None while it is not inside an iteration."""
        manager = self._manager
        if manager is None or not self._trace[INSIDE]:
            return None
        return self._trace[NUMBER], manager.executions

    def overdue(self, now: float) -> Why | None:
        """Return which node has passed its deadline and can't be cancelled, or blocks although it could be."""
        began = self._import_began
        if began is not None and now > began + IMPORT_LIMIT_S:
            return Why("import-timeout", f"importing its node modules takes more than {IMPORT_LIMIT_S:g} s")
        deadline = None if self._manager is None else self._manager.deadline()
        if deadline is None or now < deadline.at + (CANCEL_S if deadline.cancels else GRACE_S):
            return None
        message = f"attempt {deadline.attempt} is past its deadline and can't be cancelled"
        return Why("attempt-timeout", message, deadline.node)

    def node_at_work(self) -> str:
        """Return the node that is being executed, "" when none is, or when it waits for its next attempt."""
        activity = None if self._manager is None else self._manager.activity()
        return "" if activity is None or activity.again_at is not None else activity.node

    def position(self) -> tuple[str, int]:
        """Return the node whose turn it is, and which attempt; to be asked in its thread or task."""
        return ("", 0) if self._manager is None else self._manager.position()

    def past_the_beginning(self) -> bool:
        """Whether a loop that runs alone for no message's sake has got through an iteration: it may go back."""
        if not self.assign.alone or self.assign.suspect is not None or self._cleared or self._manager is None:
            return False
        stats = self._manager.stats()
        self._cleared = stats.iterations + stats.idle_ticks > 0
        return self._cleared

    def figures(self) -> Figures | None:
        """Return what the loop has done, None before it began."""
        if self._manager is None or self._tenure is None:
            return None
        stats = self._manager.stats()
        return self._figures(stats, self._tenure.iteration, self._look(self._manager, self._tenure, stats))

    def _look(self, manager: LoopManager, tenure: RedisTenure, stats: LoopSnapshot) -> Look:
        now, line = time.monotonic(), tenure.pipeline
        blocked, activity = _blocked(line, now), manager.activity()
        nodes = {node.node: node for node in stats.nodes}
        error = nodes[activity.node].last_error if activity is not None and activity.node in nodes else None
        return Look(
            now=now,
            wall=time.time(),
            activity=activity,
            iterations=stats.iterations,
            blocked=blocked,
            trouble=line.trouble,
            error="" if error is None else _why(error, traceback=0).message,
        )

    def _figures(self, stats: LoopSnapshot, before: int, look: Look) -> Figures:
        self._watcher = self._watcher or Watcher(self._plan)
        uses = {step.node: step.uses or step.kind for step in self._plan.steps}
        return Figures(
            run=self.number,
            paused=self._paused,
            committed=before + stats.committed,
            errors=stats.errors,
            idle_ticks=stats.idle_ticks,
            in_flight=stats.in_flight,
            duration_log2_ns=_log2(stats.durations),
            nodes=[_node(node, uses[node.node]) for node in stats.nodes],
            retries=stats.retries,
            dead_letters=stats.dead_letters,
            incidents=[_incident(each) for each in stats.incidents[-MAX_INCIDENTS:]],
            doing=self._watcher.look(look),
            blocked={queue: round(seconds, 3) for queue, seconds in look.blocked.items()},
            untouched=stats.untouched,
        )


def _blocked(line: Pipeline, now: float) -> dict[str, float]:
    """Return how long a loop has waited for room in which queue, what lasts included. From any thread."""
    blocked, since = dict(line.blocked), line.blocked_from
    if since is not None:
        blocked[line.blocked_on] = blocked.get(line.blocked_on, 0.0) + max(0.0, now - since)
    return blocked


def ended(run: LoopRun, outcome: Outcome) -> Ended:
    """Return how a loop ended, for the supervisor."""
    why = None if outcome.error is None else _why(outcome.error)
    if outcome.kind == "lost" and why is not None and why.code not in _LOST_FOR_GOOD:
        # Redis forgot something, or the host was stopped: another incarnation finds out where things stand.
        return Ended(run.number, "unreachable" if why.code in _OUT_OF_REACH else "failed", why)
    return Ended(run.number, outcome.kind, why, outcome.on_exhausted or "")


def ended_by(run: LoopRun, exc: BaseException) -> Ended:
    """Return how a loop ended that raised outside its LoopManager: no tenure, no classes, no nodes."""
    match exc:
        case TenureLost():
            error = LoopError(code=exc.reason, type=type(exc).__name__, message=exc.message)
            return ended(run, Outcome("lost", error))
        case QueueError():
            return Ended(run.number, "unreachable", Why("redis-unreachable", exc.message))
        case TreadleError():
            node = str(exc.details.get("node", ""))
            return Ended(run.number, "failed", Why(exc.code, text_of(exc.message, MAX_STORY), node=node))
        case _:
            return Ended(run.number, "failed", _why(_described(exc)))


def _why(error: LoopError, *, traceback: int = 16 * 1024) -> Why:
    message = error.message if error.code != "exception" else f"{error.type}: {error.message}"
    story = text_of(error.traceback, traceback, end=True)
    return Why(error.code, text_of(message, 2_000), error.node or "", story, error.type)


def _described(exc: BaseException) -> LoopError:
    try:
        return loop_error(exc)
    except Exception as second:  # noqa: BLE001 - user code's exceptions may not even have a text
        return LoopError("exception", type(exc).__name__, f"it can't be shown: {type(second).__name__}")


def _limits(use: QueueUse | None) -> QueueLimits:
    if use is None:
        return QueueLimits()
    when_full: Literal["block", "drop-oldest"] = "drop-oldest" if use.drop_oldest else "block"
    return QueueLimits(use.limit_messages, use.limit_bytes, when_full)


def _incident(incident: loop.Incident) -> Incident:
    error = incident.error
    return Incident(incident.time, _why(error, traceback=MAX_STORY), error.attempts, incident.input)


def _node(stats: NodeSnapshot, uses: str) -> NodeFigures:
    return NodeFigures(
        node=stats.node,
        uses=uses,
        health=str(stats.health),
        executions=stats.executions,
        failures=stats.failures,
        duration_log2_ns=_log2(stats.durations),
        last_error=None if stats.last_error is None else _why(stats.last_error, traceback=MAX_STORY),
    )


def _log2(durations: tuple[int, ...]) -> list[int]:
    """Shift to the wire's buckets, [2^i, 2^(i+1)) ns, and leave out the empty end."""
    shifted = [durations[0] + durations[1], *durations[2:]] if len(durations) > 1 else list(durations)
    while shifted and not shifted[-1]:
        shifted.pop()
    return shifted
