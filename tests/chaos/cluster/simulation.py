"""A whole cluster in one thread: `run(seed)` plays a seed's faults and says what went wrong, the same each time.

Real: the leader with its reconciler, scheduler, sessions, admission, roster, journal, commands and applying; the
store's tables; the dispatcher; the agents' sessions, loops, reconciler and restart policy. Simulated: time, network,
disk, Redis (its fences), pool hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from tests.chaos.cluster import settled
from tests.chaos.cluster.agent import Seat
from tests.chaos.cluster.clockwork import Clockwork
from tests.chaos.cluster.controller import ControllerProcess
from tests.chaos.cluster.disk import Disk
from tests.chaos.cluster.documents import documents
from tests.chaos.cluster.faults import Fault, Kind, Schedule, make_schedule
from tests.chaos.cluster.fences import Fences
from tests.chaos.cluster.hosts import Pace, Run
from tests.chaos.cluster.network import Network
from tests.chaos.cluster.watch import Watch
from treadle.errors import TreadleError
from treadle_controller.cluster.model import Desired
from treadle_controller.errors import ControllerError
from treadle_controller.leader.commands import DRAIN_S

RECOVERY_S: Final = 75.0  # from the end of the last fault; a paused tail that is stopped alone is given 60 s
_CALM_S: Final = 6.0  # nothing has changed for so long: longer than rebalancing waits between two moves
_LOOK_S: Final = 0.5
_SLOTS: Final = 8  # as many as all loops need, so that any one agent can be the last
_WORKFLOWS: Final = ("first", "second")


Command = Callable[[ControllerProcess], Coroutine[Any, Any, object]]


@dataclass(slots=True)
class Order:
    """A command that somebody gave."""

    what: str
    command: Command
    answered: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of a seed."""

    schedule: Schedule
    breaches: list[str] = field(default_factory=list)
    commits: int = 0
    lost: int = 0
    recovery_s: float = 0.0
    transcript: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        faults = "\n".join(f"  {fault}" for fault in self.schedule.faults)
        breaches = "\n".join(f"  {breach}" for breach in self.breaches)
        return f"seed {self.schedule.seed}, {self.schedule.agents} agents\nfaults:\n{faults}\nbreaches:\n{breaches}"


def run(schedule: Schedule, *, trace: bool = False) -> Outcome:
    """Play a schedule."""
    cluster = Cluster(schedule, trace=trace)
    try:
        cluster.play()
        cluster.settle()
    finally:
        cluster.end()
    watch = cluster.watch
    return Outcome(schedule, watch.breaches, watch.commits, watch.lost, cluster.recovery_s, watch.transcript or [])


def run_seed(seed: int) -> Outcome:
    return run(make_schedule(seed))


def shortest(outcome: Outcome) -> Outcome:
    """Leave out faults as long as something still breaks, and play the rest with a transcript."""
    schedule = outcome.schedule
    at = 0
    while at < len(schedule.faults):
        fewer = replace(schedule, faults=schedule.faults[:at] + schedule.faults[at + 1 :])
        if run(fewer).breaches:
            schedule = fewer
        else:
            at += 1
    return run(schedule, trace=True)


class Cluster:
    """Everything that is simulated, and the people who use it."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        trace: bool = False,
        pace: Pace | None = None,
        slots: int = _SLOTS,
        portion: int = 1,  # placements that go out at a time: few, so that faults come between them
    ) -> None:
        self.schedule = schedule
        self._portion = portion
        self.clockwork = Clockwork()
        self.disk = Disk(Random(f"disk {schedule.seed}"))
        self.watch = Watch(self.clockwork, self.disk, trace=trace)
        self.fences = Fences(self.watch)
        self.network = Network(self.clockwork, Random(f"network {schedule.seed}"), self.watch.say)
        self.network.breach = self.watch.breach
        self.network.watch_request, self.network.watch_answer = self.watch.request, self.watch.answer
        self.world = self.network.world
        self.controller: ControllerProcess | None = None
        self.controller_reaches_redis = True
        self.recovery_s = 0.0
        self._orders: dict[str, Order] = {}  # the newest, by what it is about
        self.wanted: dict[str, Desired] = {}  # of workflows, as the last command that was answered said
        self.seats = [self._seat(number, pace or Pace(), slots) for number in range(schedule.agents)]
        self._controllers = 0
        self._version = 0

    def _seat(self, number: int, pace: Pace, slots: int) -> Seat:
        chance = Random(f"agent {number} {self.schedule.seed}")
        seat = Seat(f"a{number}", self.clockwork, self.network, self.fences, chance, pace, slots)
        seat.on_start = self.watch.started
        return seat

    # The course of events.

    def play(self) -> None:
        """Start everything, and have all faults happen; returns when the last one is over."""
        self.start()
        for fault in self.schedule.faults:
            begin, end = ACTS[fault.kind]
            self.world.call_at(fault.at, self._act, begin, fault)
            if end is not None:
                self.world.call_at(fault.until, self._act, end, fault)
        self.clockwork.run(self.schedule.quiet_at + 0.001)
        self._take_over_problems()

    def start(self) -> None:
        self.start_controller()
        for seat in self.seats:
            self.world.call_later(0.3 * seat.chance.random(), seat.start)
        self.world.call_later(1.0, self.apply)

    def _act(self, act: Act, fault: Fault) -> None:
        self.watch.say("FAULT", f"{'' if act is ACTS[fault.kind][0] else 'end of: '}{fault}")
        act(self, fault)

    def settle(self) -> None:
        """Let the cluster recover, and see that it does, and that it then stays as it is."""
        quiet_at = self.clockwork.now
        reason, calm_at = "it has only begun to look", quiet_at
        while self.clockwork.now < quiet_at + RECOVERY_S and self.clockwork.now < calm_at + _CALM_S:
            starts = len(self.watch.starts)
            self.clockwork.run(self.clockwork.now + _LOOK_S)
            reason = settled.unsettled(self)
            if reason or len(self.watch.starts) > starts:
                calm_at = self.clockwork.now
        self.recovery_s = calm_at - quiet_at
        if self.clockwork.now < calm_at + _CALM_S:
            self.watch.breach(f"I4: {RECOVERY_S:.0f} s after the last fault {reason or 'loops are still moved'}")
        if self.schedule.gentle:
            self._have_moved_nothing()
        self._take_over_problems()

    def _have_moved_nothing(self) -> None:
        begun: set[object] = set()
        for start in self.watch.starts:
            if start.key in begun:
                self.watch.breach(f"{start.key} was started again at {start.at:.2f} s, where nothing may move")
            begun.add(start.key)
        if self.watch.lost:
            self.watch.breach("an agent was judged lost, where nothing may move")

    def _take_over_problems(self) -> None:
        for problem in self.clockwork.problems:
            self.watch.breach(f"an exception that nobody caught: {problem}")
        self.clockwork.problems.clear()

    def end(self) -> None:
        """Nothing of it runs any more."""
        for process in (process for seat in self.seats for process in seat.processes):
            process.process.kill()
            process.machine.process.kill()
        if self.controller is not None:
            self.controller.process.kill()
        self.disk.close()

    # The controller.

    def start_controller(self) -> None:
        if self.controller is not None:
            return
        self._controllers += 1
        self.controller = ControllerProcess(
            self.clockwork,
            self.disk,
            self.fences,
            Random(f"controller {self._controllers} {self.schedule.seed}"),
            number=self._controllers,
            reaches=lambda: self.controller_reaches_redis,
            note=self.watch.noted,
            portion=self._portion,
        )
        self.controller.start(self._serve)

    def _serve(self, controller: ControllerProcess) -> None:
        self.network.server = controller
        self.watch.serving_since = self.clockwork.now
        self.watch.say("controller", f"serves as {controller.process.name}")

    def kill_controller(self) -> None:
        controller, self.controller = self.controller, None
        if controller is not None:
            controller.process.kill()
            self.network.server_died()

    # The people.

    def ask(self, about: str, what: str, command: Command) -> None:
        """Give a command, again and again until a controller has carried it out, or somebody wants otherwise."""
        order = Order(what, command)
        self._orders[about] = order
        self._give(about, order)

    def _give(self, about: str, order: Order) -> None:
        if order.answered or self._orders[about] is not order:
            return
        controller = self.controller
        if controller is None or controller.leader is None or controller.process.frozen:
            self.world.call_later(0.5, self._give, about, order)
            return
        controller.process.spawn(self._carry_out(order, controller), order.what)
        self.world.call_later(5.0, self._give, about, order)

    async def _carry_out(self, order: Order, controller: ControllerProcess) -> None:
        try:
            await order.command(controller)
            order.answered = True
            self.watch.say("people", f"{order.what}: done")
        except (TreadleError, ControllerError) as exc:
            self.watch.say("people", f"{order.what}: {exc}")

    def apply(self) -> None:
        """Apply the next version of both documents."""
        version, self._version = self._version, self._version + 1
        for name, document in documents(version).items():
            self.ask(f"document {name}", f"apply {name} {version}", _applying(name, document))

    def desire(self, workflow: str, desired: Desired) -> None:
        async def command(controller: ControllerProcess) -> None:
            await controller.api.commands.desire(workflow, "", desired, actor="people")
            self.wanted[workflow] = desired

        self.wanted.pop(workflow, None)
        self.ask(workflow, f"{desired.name.lower()} {workflow}", command)

    def restart(self, workflow: str, *, fresh: bool) -> None:
        self.wanted.pop(workflow, None)  # what was stopped runs again
        self.ask(workflow, f"restart {workflow}", _restarting(workflow, fresh=fresh))

    def runs(self) -> list[Run]:
        """Return all runs that are not over, wherever they are."""
        processes = [process for seat in self.seats for process in seat.processes]
        return [run for process in processes for run in process.machine.runs.values()]

    # Faults that are more than one call.

    def seat(self, fault: Fault) -> Seat:
        return self.seats[fault.agent]

    def freeze(self, fault: Fault) -> None:
        hosts, keepalive = fault.flags
        seat = self.seat(fault)
        seat.freeze(hosts=hosts)
        if keepalive and seat.process is not None:
            frozen = seat.process.process
            for stream in list(seat.link.streams):
                self.world.call_later(1.0 + fault.value, lambda s=stream: s.cut("frozen") if frozen.frozen else None)

    def take_away(self, fault: Fault) -> None:
        """The machine of an agent vanishes; another must be left that can run its loops."""
        seat = self.seat(fault)
        seat.kill(silently=True, keepalive=fault.flags[0])
        seat.gone = True

    def fail_a_loop(self, fault: Fault) -> None:
        runs = sorted(self.runs(), key=lambda run: run.name)
        if runs:
            runs[int(fault.value * len(runs))].fails = True

    def pick(self, fault: Fault) -> str:
        return _WORKFLOWS[int(fault.value * len(_WORKFLOWS))]


def _applying(name: str, document: bytes) -> Command:
    return lambda controller: controller.api.applying.apply(document, name, actor="people")


def _restarting(workflow: str, *, fresh: bool) -> Command:
    return lambda controller: controller.api.commands.restart(workflow, "", fresh=fresh, actor="people")


def _cordoning(agent: str, *, cordoned: bool) -> Command:
    return lambda controller: controller.api.commands.cordon(agent, cordoned=cordoned, actor="people")


def _draining(agent: str, deadline_s: float = DRAIN_S) -> Command:
    return lambda controller: controller.api.commands.drain(agent, actor="people", deadline_s=deadline_s)


def _set_link(cluster: Cluster, fault: Fault, delay_s: float, jitter_s: float) -> None:
    link = cluster.seat(fault).link
    link.delay_s, link.jitter_s = delay_s, jitter_s


def _start_rival(cluster: Cluster, fault: Fault) -> None:
    cluster.watch.contested[cluster.seat(fault).name] = fault.until
    cluster.seat(fault).start_rival()


def _partition(cluster: Cluster, fault: Fault) -> None:
    up, down = [(False, False), (False, True), (True, False)][int(fault.value * 3)]
    cluster.network.partition(cluster.seat(fault).name, up=up, down=down, keepalive=fault.flags[0])


def _heal(cluster: Cluster, fault: Fault) -> None:
    cluster.network.partition(cluster.seat(fault).name, up=True, down=True, keepalive=True)


def _stop(cluster: Cluster, fault: Fault) -> None:
    process = cluster.seat(fault).process
    if process is not None and not process.process.frozen:
        process.stop()


def _revive(cluster: Cluster, fault: Fault) -> None:
    """Start an agent again; one that was being stopped has had its time."""
    seat = cluster.seat(fault)
    if seat.process is not None and seat.process.stopping:
        seat.kill(silently=False)
    if not seat.gone:
        seat.start()


def _freeze_controller(cluster: Cluster, fault: Fault) -> None:
    if cluster.controller is not None:
        cluster.controller.process.freeze()


def _thaw_controller(cluster: Cluster, fault: Fault) -> None:
    if cluster.controller is not None:
        cluster.controller.process.thaw()


def _reach(cluster: Cluster, *, reaches: bool) -> None:
    cluster.controller_reaches_redis = reaches


def _slow_disk(cluster: Cluster, slow_s: float) -> None:
    cluster.disk.slow_s = slow_s


Act = Callable[[Cluster, Fault], object]
ACTS: Final[dict[Kind, tuple[Act, Act | None]]] = {
    Kind.AGENT_KILLED: (lambda c, f: c.seat(f).kill(silently=f.flags[0], keepalive=f.flags[1]), _revive),
    Kind.AGENT_GONE: (Cluster.take_away, None),
    Kind.AGENT_FROZEN: (Cluster.freeze, lambda c, f: c.seat(f).thaw()),
    Kind.AGENT_STOPPED: (_stop, _revive),
    Kind.RIVAL: (_start_rival, lambda c, f: c.seat(f).kill_rival()),
    Kind.HOST_DIES: (lambda c, f: c.seat(f).lose_host("thread"), None),
    Kind.LOOP_FAILS: (Cluster.fail_a_loop, None),
    Kind.PARTITION: (_partition, _heal),
    Kind.CUT: (lambda c, f: c.network.cut(c.seat(f).name), None),
    Kind.SLOW_LINK: (lambda c, f: _set_link(c, f, 0.1, 0.2 * f.value), lambda c, f: _set_link(c, f, 0.001, 0.002)),
    Kind.LOST_MESSAGE: (lambda c, f: c.network.lose_answer(c.seat(f).name), None),
    Kind.REDIS_CUT: (
        lambda c, f: c.seat(f).set_redis(reachable=False),
        lambda c, f: c.seat(f).set_redis(reachable=True),
    ),
    Kind.CONTROLLER_KILLED: (lambda c, _: c.kill_controller(), lambda c, _: c.start_controller()),
    Kind.CONTROLLER_FROZEN: (_freeze_controller, _thaw_controller),
    Kind.CONTROLLER_CUT: (lambda c, _: _reach(c, reaches=False), lambda c, _: _reach(c, reaches=True)),
    Kind.DISK_SLOW: (lambda c, f: _slow_disk(c, 1.5 * f.value), lambda c, _: _slow_disk(c, 0.005)),
    Kind.APPLY: (lambda c, _: c.apply(), None),
    Kind.PAUSE: (
        lambda c, f: c.desire(c.pick(f), Desired.PAUSED),
        lambda c, f: c.desire(c.pick(f), Desired.RUNNING) if f.flags[0] else None,
    ),
    Kind.STOP: (
        lambda c, f: c.desire(c.pick(f), Desired.STOPPED),
        lambda c, f: c.desire(c.pick(f), Desired.RUNNING) if f.flags[0] else None,
    ),
    Kind.RESTART: (lambda c, f: c.restart(c.pick(f), fresh=f.flags[0]), None),
    Kind.CORDON: (
        lambda c, f: c.ask(c.seat(f).name, "cordon", _cordoning(c.seat(f).name, cordoned=True)),
        lambda c, f: c.ask(c.seat(f).name, "uncordon", _cordoning(c.seat(f).name, cordoned=False)),
    ),
    Kind.DRAIN: (
        lambda c, f: c.ask(c.seat(f).name, "drain", _draining(c.seat(f).name)),
        lambda c, f: c.ask(c.seat(f).name, "uncordon", _cordoning(c.seat(f).name, cordoned=False)),
    ),
    Kind.DRAIN_FORCED: (
        lambda c, f: c.ask(c.seat(f).name, "drain at once", _draining(c.seat(f).name, 0.5 * f.value)),
        lambda c, f: c.ask(c.seat(f).name, "uncordon", _cordoning(c.seat(f).name, cordoned=False)),
    ),
    Kind.STARVED: (
        lambda c, f: c.seat(f).set_redis(reachable=False),
        lambda c, f: c.seat(f).set_redis(reachable=True),
    ),
}
