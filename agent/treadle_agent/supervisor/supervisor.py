"""Everything of an agent but the session: children, loops, catalog, Redis probe, log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import node_type_pb2
from treadle_agent.frames import Attach, Found, FromChild, Lines, Spans, Why
from treadle_agent.supervisor.assignments import address_of
from treadle_agent.supervisor.catalog_scan import CatalogScan
from treadle_agent.supervisor.child import Child, Listener
from treadle_agent.supervisor.draining import order_of_draining
from treadle_agent.supervisor.hosts import SHARED, Hosts, Template
from treadle_agent.supervisor.loops import Loops, Reporter
from treadle_agent.supervisor.redis_probe import RedisProbe
from treadle_agent.supervisor.spawner import Spawner
from treadle_agent.supervisor.tell import LogTeller
from treadle_agent.supervisor.watch import Watch

_log = logging.getLogger(__name__)

STOPPING = Why("agent-stopping", "the agent is being stopped")


class Supervisor:
    """Runs what it is told to run. On the main thread and its event loop, without any user code."""

    def __init__(self, template: Template, spawner: Spawner, reporter: Reporter) -> None:
        self._template = template
        self.loops = Loops(reporter)
        self.hosts = Hosts(template, spawner, Listener(self._hear, self._printed, self._gone), self._host_is_back)
        self.loops.hosts = self.hosts
        self.logs = LogTeller(template.agent, self.loops.placed)
        self.probe = RedisProbe(template.redis, self._redis_changed)
        self.catalog = Found([], [])
        self._scan = CatalogScan(self.hosts)
        self._watch = Watch(self.hosts, self.loops, template.limits)
        self._leaving = False
        self.on_spans: Callable[[Spans], None] = _nobody  # takes what hosts have recorded

    async def start(self) -> None:
        """Start the shared hosts, and find out what node types there are. Raises SpawnFailed."""
        await self.hosts.start()
        self.hosts.start_shared()
        self._watch.start()
        self._take_catalog(await self._scan.run(self._template.nodes))

    async def renew(self) -> bool:
        """Look at the node modules again; return whether something is different.

        Code is never reloaded: what starts from now on starts in new processes, what runs goes on in those of its
        code until the controller has it changed. A module that can't be imported any more changes nothing.
        """
        found = await self._scan.run(self._template.nodes)
        lost = {each.uses for each in self.catalog.types} - {each.uses for each in found.types}
        if found == self.catalog or (lost and found.errors):
            for why in found.errors:
                _log.error("node module, which is left as it was: %s", why.message, extra={"code": why.code})
            return False
        self._take_catalog(found)
        for role in SHARED:
            child = self.hosts.shared(role)
            if child is not None:
                self.loops.casualties.retire(child)
        return True

    def _take_catalog(self, found: Found) -> None:
        self.catalog = found
        self.loops.sources = {each.uses: each.module for each in found.types}
        for why in found.errors:
            _log.warning("node module: %s", why.message, extra={"code": why.code})

    async def stop(self) -> None:
        """Kill what still runs; returns when no process is left."""
        self._leaving = True
        await self._watch.stop()
        await self.probe.stop()
        await self.hosts.stop()

    # What the controller says.

    def welcome(self, message: wire.Welcome) -> None:
        """Learn the namespace and which Redis holds it."""
        self.loops.redis_id = message.redis_id
        self.hosts.greet(Attach(message.namespace, message.redis_id))
        self.probe.watch(message.namespace, message.redis_id)

    def take(self, message: wire.Assignments) -> None:
        """Take in assignments and releases."""
        if not self._leaving or message.releases or message.kind == wire.ASSIGNMENTS_KIND_COMPLETE:
            self.loops.take(message)

    def subscribe(self, message: wire.LogSubscription) -> None:
        """Collect log lines of these loops."""
        if message.HasField("recall"):
            since = message.recall.since_time
            loops = {address_of(ref) for ref in message.recall.loops}
            self.logs.recall(message.recall.id, loops, since.seconds + since.nanos / 1e9)
        self.logs.subscribe({address_of(ref) for ref in message.loops})

    def silence(self, seconds: float) -> None:
        """Take in how long the controller has been silent; now and then."""
        before, self.loops.silent_s = self.loops.silent_s, seconds
        if max(before, seconds) > 0.0:
            self.loops.look_at_touchy()
        self.hosts.tend()

    # Leaving.

    def leave(self) -> None:
        """Start nothing any more."""
        self._leaving = True
        self.loops.hold = STOPPING

    async def idle(self) -> None:
        """Wait until no loop runs."""
        while self.loops.running:
            self.loops.changed.clear()
            await self.loops.changed.wait()

    async def drain(self) -> None:
        """Drain every loop without the controller: those that nobody here feeds, then their readers, and so on."""
        while self.loops.running:
            self.loops.changed.clear()
            for record in order_of_draining(self.loops.running):
                self.loops.drain(record)
            await self.loops.changed.wait()

    # What children say.

    def _hear(self, child: Child, frame: FromChild) -> None:
        if isinstance(frame, Lines):
            self.logs.take(frame)
        elif isinstance(frame, Spans):
            self.on_spans(frame)
        elif child.role == "catalog":
            self._scan.hear(child, frame)
        else:
            self.loops.hear(child, frame)

    def _printed(self, child: Child, line: str) -> None:
        self.logs.printed(self.loops.runs_of(child), child.role, line)

    def _gone(self, child: Child, code: int) -> None:
        if child.role == "catalog":
            self._scan.gone(child, code)
        else:
            self.loops.gone(child, code)

    def _host_is_back(self, child: Child) -> None:
        self.loops.look_at_pool(child.role)

    def _redis_changed(self, why: Why | None) -> None:
        if not self._leaving:
            self.loops.hold = why
            self.loops.look_at_all()


def _nobody(_: Spans) -> None:
    """Hosts record nothing unless somebody wants it."""


def node_types(found: Found) -> list[node_type_pb2.NodeType]:
    """Return the catalog as the controller gets it."""
    roles = {"producer": node_type_pb2.NODE_ROLE_PRODUCER, "node": node_type_pb2.NODE_ROLE_NODE}
    return [
        node_type_pb2.NodeType(
            uses=each.uses,
            role=roles[each.role],
            schema_json=msgspec.json.encode(each.schema).decode(),
            doc=each.doc,
            stateful=each.stateful,
            state_version=each.state_version,
            digest=each.digest,
            module=each.module,
        )
        for each in found.types
    ]
