"""`wfctl dev` from start to end: everything up, the files applied, a view until something ends it, everything down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import click

from treadle.v1 import agent_pb2, agent_service_pb2, loop_service_pb2, queue_service_pb2
from wfctl.client import Client
from wfctl.commands import apply
from wfctl.dev import snapshot, view
from wfctl.dev.cluster import Cluster
from wfctl.dev.logs import LogReader
from wfctl.dev.signals import Signals, Stopped
from wfctl.dev.snapshot import Snapshot
from wfctl.documents import Document
from wfctl.errors import DaemonFailed, InvalidWorkflow, Unhealthy, Unreachable, WfctlError
from wfctl.findings import show as show_findings
from wfctl.output import hint
from wfctl.settings import Settings

_LOOK_S: Final = 0.2
_START_LOOK_S: Final = 0.02
_FINAL_S: Final = 5.0
_AGENTS_S: Final = 30.0
_BEGIN_S: Final = 60.0  # with --for: how long loops may take until they run


@dataclass(slots=True)
class Ending:
    """When to stop by itself: so long after all loops began to run, or when all have ended."""

    limit_s: float | None  # None: no limit
    by_itself: bool = True  # whether there is nothing more to come when all loops have ended
    clock: Callable[[], float] = time.monotonic
    began_at: float | None = None
    waiting_since: float | None = None

    def is_due(self, now: Snapshot) -> bool:
        """Return whether to stop now."""
        at = self.clock()
        self.waiting_since = at if self.waiting_since is None else self.waiting_since
        if now.has_begun and self.began_at is None:
            self.began_at = at
        if now.has_ended and self.by_itself:
            return True
        if self.limit_s is None:
            return False
        return at - self.waiting_since >= _BEGIN_S if self.began_at is None else at - self.began_at >= self.limit_s


class Session:
    """One run of `wfctl dev` over a cluster that has been started. `run()` returns the exit code."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        signals: Signals,
        documents: Sequence[Document],
        *,
        limit_s: float | None,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._signals = signals
        self._documents = documents
        # Without files somebody applies them later, and one that completes is not the end.
        self._ending = Ending(limit_s, by_itself=bool(documents))
        self._last = Snapshot()
        self._away = False

    def run(self) -> int:
        """Wait until all is up, apply the documents, show what happens, and let the loops finish.

        Raises Stopped when a signal comes before there is anything to show, and WfctlError.
        """
        begun = time.monotonic()
        self._cluster.wait_listening(self._signals.pause)
        settings = replace(self._settings, address=self._cluster.address, cacert=None, cert=None, key=None, token=None)
        with Client(settings) as client:
            self._await_agents(client)
            hint(f"ready after {time.monotonic() - begun:.1f}s: {self._where()}")
            self._apply(client)
            stopped = self._show(client)
            return self._finish(client, stopped=stopped)

    def _where(self) -> str:
        return f"gRPC {self._cluster.address}, HTTP http://{self._cluster.http_address}"

    def _await_agents(self, client: Client) -> None:
        deadline = time.monotonic() + _AGENTS_S
        wanted = {f"dev-{number}" for number in range(1, self._cluster.config.agents + 1)}
        while not wanted <= self._ready_agents(client):
            self._cluster.watch(restart=False)
            if time.monotonic() > deadline:
                ends = "\n".join(agent.log_end() for agent in self._cluster.agents)
                raise DaemonFailed(f"not all agents are ready after {_AGENTS_S:g}s\n{ends}")
            self._signals.pause(_START_LOOK_S)

    def _ready_agents(self, client: Client) -> set[str]:
        try:
            found = client.call(client.agents.ListAgents, agent_service_pb2.ListAgentsRequest()).agents
        except Unreachable:
            return set()  # if it died, the look after the daemons says so, with the end of its log
        return {item.name for item in found if item.state == agent_pb2.AGENT_STATE_READY}

    def _apply(self, client: Client) -> None:
        for document in self._documents:
            try:
                answer = apply.submit(client, document)
            except InvalidWorkflow as exc:
                show_findings(exc.findings, self._settings)
                raise
            apply.show(answer, document, replace(self._settings, output="table"), err=True)

    def _show(self, client: Client) -> bool:
        """Show what happens until it ends; returns whether a signal ended it."""
        logs = LogReader(client)
        title = f"wfctl dev  {self._where()}  Ctrl-C stops all"
        try:
            with view.choose(self._settings, title) as shown:
                while True:
                    shown.say(logs.take())
                    shown.say(self._look(client))
                    logs.follow({loop.workflow for loop in self._last.loops})
                    shown.show(self._last)
                    if self._ending.is_due(self._last):
                        return False
                    self._signals.pause(_LOOK_S)
        except Stopped:
            return True
        finally:
            logs.stop()

    def _look(self, client: Client) -> list[str]:
        """Take a snapshot, look after the daemons, and return what there is to say about them."""
        said = self._cluster.watch()
        try:
            self._last = observe(client)
        except (Unreachable, Unhealthy) as exc:
            said += [] if self._away else [exc.message]
            self._away = True
        else:
            said += ["the controller is back"] if self._away else []
            self._away = False
        return said

    def _finish(self, client: Client, *, stopped: bool) -> int:
        """Let the loops finish, print the final figures, and return the exit code."""
        hint("stopping: loops finish their iterations ..." if not self._last.has_ended else "all loops have ended")
        self._cluster.stop_agents()
        for line in snapshot.summary(self._final(client)):
            click.echo(line)
        problem = snapshot.verdict(self._last, began=self._ending.began_at is not None or stopped)
        if problem is None:
            return 0
        hint(f"wfctl: {problem.message}")
        return problem.exit_code

    def _final(self, client: Client) -> Snapshot:
        """Return the figures after the last commit."""
        deadline = time.monotonic() + _FINAL_S
        while True:
            try:
                return observe(client, exact=True)
            except WfctlError as exc:
                if self._signals.ordered or time.monotonic() > deadline:
                    hint(f"wfctl: the final figures are those of a moment before: {exc.message}")
                    return self._last
                time.sleep(_START_LOOK_S)


def observe(client: Client, *, exact: bool = False) -> Snapshot:
    """Return what runs in the namespace; `exact` asks for each queue by itself, whose figures are live then."""
    namespace = client.settings.namespace
    loops = client.call_all(client.loops.ListLoops, loop_service_pb2.ListLoopsRequest(namespace=namespace)).loops
    queues = list(
        client.call_all(client.queues.ListQueues, queue_service_pb2.ListQueuesRequest(namespace=namespace)).queues
    )
    if exact:
        requests = [queue_service_pb2.GetQueueRequest(namespace=namespace, name=item.name) for item in queues]
        queues = [client.call(client.queues.GetQueue, request).queue for request in requests]
    return Snapshot(tuple(loops), tuple(queues))
