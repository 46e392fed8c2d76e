"""A simulated agent: the real session, its machine, the real loops and their reconciler, around simulated hosts.

`Seat` is a name with a machine and a link, where agent processes come and go. `AgentProcess` is one of them; it does
what the daemon does between session and supervisor.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from tests.chaos.cluster.clockwork import Clockwork, Process
from tests.chaos.cluster.fences import Fences
from tests.chaos.cluster.hosts import Child, Hosts, Machine, Pace
from tests.chaos.cluster.network import Link, Network
from treadle.v1 import agent_pb2, event_pb2, loop_pb2, node_type_pb2
from treadle.v1 import dispatcher_service_pb2 as pb
from treadle_agent.frames import Address, FromChild, Why
from treadle_agent.session.machine import Identity
from treadle_agent.session.machine import Machine as SessionMachine
from treadle_agent.session.stream import Session
from treadle_agent.supervisor.draining import order_of_draining
from treadle_agent.supervisor.loops import Loops, Reporter

TICK_S: Final = 1.0
_STOPPING: Final = Why("agent-stopping", "the agent is being stopped")
_NO_REDIS: Final = Why("redis-unreachable", "Redis does not answer: it is cut off")
NODE_TYPES: Final = (
    node_type_pb2.NodeType(uses="sim.source", role=node_type_pb2.NODE_ROLE_PRODUCER, schema_json='{"type": "object"}'),
    node_type_pb2.NodeType(uses="sim.work", role=node_type_pb2.NODE_ROLE_NODE, schema_json='{"type": "object"}'),
)


class Seat:
    """A place for an agent. `process` is the one there now; a second one of the same name is a `rival`."""

    def __init__(
        self, name: str, clockwork: Clockwork, network: Network, fences: Fences, chance: Random, pace: Pace, slots: int
    ) -> None:
        self.name = name
        self.clockwork = clockwork
        self.network = network
        self.fences = fences
        self.chance = chance
        self.pace = pace
        self.slots = slots
        self.link = network.links.setdefault(name, Link(name))
        self.redis_reachable = True
        self.process: AgentProcess | None = None
        self.rival: AgentProcess | None = None
        self.on_start: Any = None
        self.gone = False  # for good
        self._boots = 0

    def boot(self) -> AgentProcess:
        """Start an agent process here."""
        self._boots += 1
        process = AgentProcess(self, f"{self.name}.{self._boots}")
        process.machine.redis_reachable = self.redis_reachable
        if self.on_start is not None:
            process.machine.on_start = self.on_start
        process.start()
        return process

    def start(self) -> None:
        if self.process is None:
            self.process = self.boot()

    def start_rival(self) -> None:
        if self.rival is None:
            self.rival = self.boot()

    def kill(self, *, silently: bool, keepalive: bool = True) -> None:
        """Kill the agent process and its children.

        `silently`: its machine is gone, nobody resets its streams, and at best keepalive finds out.
        """
        process, self.process = self.process, None
        if process is not None:
            process.kill(silently=silently, keepalive=keepalive)

    def kill_rival(self) -> None:
        process, self.rival = self.rival, None
        if process is not None:
            process.kill(silently=False)

    def freeze(self, *, hosts: bool) -> None:
        if self.process is not None:
            self.process.process.freeze()
            if hosts:
                self.process.machine.process.freeze()

    def thaw(self) -> None:
        if self.process is not None:
            self.process.machine.process.thaw()
            self.process.process.thaw()

    def set_redis(self, *, reachable: bool) -> None:
        self.redis_reachable = reachable
        for process in (self.process, self.rival):
            if process is not None:
                process.machine.redis_reachable = reachable

    def lose_host(self, role: str) -> None:
        for process in self.processes:
            process.host_dies(role)

    @property
    def processes(self) -> list[AgentProcess]:
        return [process for process in (self.process, self.rival) if process is not None]


class AgentProcess:
    """One agent process."""

    def __init__(self, seat: Seat, boot_id: str) -> None:
        self.seat = seat
        self.boot_id = boot_id
        self.stopping = False
        self.process = Process(seat.clockwork, boot_id)
        children = Process(seat.clockwork, f"{boot_id}/hosts")
        self.machine = Machine(boot_id, children, seat.fences, seat.chance, seat.pace)
        self.machine.say = self._hear
        self._clockwork = seat.clockwork
        self.session: Session
        self.loops: Loops
        self.hosts = Hosts(self.machine)

    def start(self) -> None:
        self.process.call_soon(self._start)

    def kill(self, *, silently: bool, keepalive: bool = True) -> None:
        self.process.kill()
        self.machine.process.kill()
        for run in list(self.machine.runs.values()):
            run.forget()
        for stream in [stream for stream in self.seat.link.streams if stream._client is self.process]:
            if silently and keepalive:
                self.seat.network.world.call_later(2.0 + self.seat.chance.random(), stream.cut, "keepalive")
            elif not silently:
                stream.cut("the agent died")

    def stop(self) -> None:
        """Stop as at SIGTERM: hand over, else drain alone, report, end."""
        if not self.stopping:
            self.stopping = True
            self.process.call_soon(self._leave)

    def host_dies(self, role: str) -> None:
        """Have a shared host die; the supervisor sees it, and starts another."""
        for child in self.hosts.living():
            if child.role == role:
                child.kill()
                self.process.call_soon(self._host_died, child)

    # Its life.

    def _start(self) -> None:
        slots = agent_pb2.Slots(thread=self.seat.slots, process=self.seat.slots, asyncio=self.seat.slots)
        identity = Identity(
            agent=self.seat.name, boot_id=self.boot_id, version="1", slots=slots, node_types=list(NODE_TYPES)
        )
        chance = self.seat.chance.random
        clock = self.process.time
        self.loops = Loops(Reporter(self._say_status, self._say_event), clock=clock, jitter=chance)
        self.loops.hosts = self.hosts  # type: ignore[assignment] # what Loops asks of it is there
        machine = SessionMachine(identity, ["controller"], chance)
        self.session = Session(machine, self._deliver, connect=self._connect, clock=clock)
        self.process.call_later(TICK_S * chance(), self._tick)
        self.session.start()

    def _connect(self, _address: str, on_message: Any, on_broken: Any) -> Any:
        return self.seat.network.connect(self.seat.link, self.process, on_message, on_broken)

    def _tick(self) -> None:
        """What the daemon and the probe of Redis do each second."""
        machine, reachable = self.session.machine, self.machine.redis_reachable
        contact = machine.contact_at
        silent = 0.0 if machine.live or contact is None else self.process.time() - contact
        machine.redis_reachable = reachable
        hold = None if reachable else _NO_REDIS
        if not self.stopping and hold is not self.loops.hold:
            self.loops.hold = hold
            self.loops.look_at_all()
        before, self.loops.silent_s = self.loops.silent_s, silent
        if max(before, silent) > 1.0:
            self.loops.look_at_all()
        if self.stopping:
            self._go_on_leaving()
        self.process.call_later(TICK_S, self._tick)

    def _deliver(self, message: object) -> None:
        match message:
            case pb.Welcome():
                self.loops.redis_id = message.redis_id
            case pb.Assignments():
                if not self.stopping or message.releases or message.kind == pb.ASSIGNMENTS_KIND_COMPLETE:
                    self.loops.take(message)

    # Leaving.

    def _leave(self) -> None:
        self.loops.hold = _STOPPING
        self._leaves_alone_at = self.process.time() + 5.0
        if self.session.machine.live:
            self.session.act(self.session.machine.farewell(5.0))
        else:
            self._leaves_alone_at = self.process.time()
        self._go_on_leaving()

    def _go_on_leaving(self) -> None:
        if not self.loops.running:
            self.process.call_later(0.5, self._exit)
        elif self.process.time() >= self._leaves_alone_at or not self.session.machine.live:
            for record in order_of_draining(self.loops.running):
                self.loops.drain(record)

    def _exit(self) -> None:
        if self.seat.process is self:
            self.seat.network.say(self.boot_id, "has stopped")
            self.session.act(self.session.machine.stop())
            self.seat.kill(silently=False)

    # What children say.

    def _hear(self, frame: FromChild, child: Child) -> None:
        self.process.call_soon(self._heard, frame, child)

    def _heard(self, frame: FromChild, child: Child) -> None:
        self.loops.hear(child, frame)  # type: ignore[arg-type] # it is one as far as Loops looks

    def _host_died(self, child: Child) -> None:
        self.loops.gone(child, -11)  # type: ignore[arg-type]
        self.process.call_later(0.05, self._host_is_back, child.role)

    def _host_is_back(self, role: str) -> None:
        self.hosts.replace(role)
        self.loops.look_at_pool(role)

    def _say_status(self, status: loop_pb2.LoopStatus, urgent: bool, last: bool) -> None:
        self.session.machine.status(status, urgent=urgent, last=last)
        if urgent or last:
            self.session.flush_soon()

    def _say_event(self, address: Address, code: str, message: str) -> None:
        event = event_pb2.Event(kind="loop", name=str(address.key), code=code, message=message)
        self.session.machine.event(event)
        self.session.flush_soon()
