"""Rollouts as they run: each newest revision that is not healthy yet is looked at, and sent back when it fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from treadle_controller.cluster import halt, rollout
from treadle_controller.cluster.model import Why
from treadle_controller.cluster.rollout import Rollout, RolloutState, Scene, Verdict
from treadle_controller.leader.applying import Applying
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.image import WorkflowImage

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader

_LOOK_S: Final = 0.1
_LOOK_S_PER_LOOP: Final = 200e-6  # some twenty times what one takes: large workflows are looked at less often
_OPEN: Final = (RolloutState.PROGRESSING, RolloutState.UNHEALTHY)  # an unhealthy one may still recover


class Rolling:
    """Watches rollouts. `watch` is called for each new revision, and for each workflow when the controller starts."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._watched: dict[str, Rollout] = {}
        self._applying = Applying(leader)
        self._began = asyncio.Event()

    def watch(self, workflow: WorkflowImage) -> None:
        """Watch the rollout of a workflow's newest revision, if it is not over."""
        if workflow.record.state in _OPEN:
            self._watched[workflow.name] = Rollout(workflow.record.revision, self._leader.clock())
            self._began.set()
        else:
            self._watched.pop(workflow.name, None)

    def steady(self, workflow: WorkflowImage) -> tuple[int, int]:
        """Return how many loops the newest revision touches, and how many of them are steady."""
        watched = self._watched.get(workflow.name)
        return (watched.total, watched.steady) if watched is not None else (0, 0)

    async def run(self) -> None:
        """Look at all of them many times a second, for ever."""
        while True:
            await self._began.wait()
            await asyncio.sleep(_LOOK_S + _LOOK_S_PER_LOOP * self._size())
            await self.run_once()
            if not self._watched:
                self._began.clear()

    def _size(self) -> int:
        found = (self._leader.image.workflows.get(name) for name in self._watched)
        return sum(len(workflow.loops) for workflow in found if workflow is not None)

    async def run_once(self) -> None:
        left = rollout.MOST_LOOKED_AT
        for name in list(self._watched):
            if left <= 0:
                break
            watched = self._watched.pop(name)
            self._watched[name] = watched  # last the next time
            left -= max(1, watched.total - watched.steady)
            workflow = self._leader.image.workflows.get(name)
            if workflow is None or workflow.record.deleting:
                self._watched.pop(name, None)
            elif workflow.record.revision == watched.revision:
                await self._look(workflow, watched)

    async def _look(self, workflow: WorkflowImage, watched: Rollout) -> None:
        now = self._leader.clock()
        if not self._leader.link.up or workflow.record.why_code == halt.CODE:
            watched.since = now  # queues that can't be reached, or nothing that is meant to run, say nothing of it
            return
        healthy = workflow.record.healthy
        scene = Scene(workflow.loops, workflow.assignments, workflow.observed, workflow.waits, healthy)
        verdict = rollout.look(watched, scene, now=now, deadline_s=workflow.compiled.progress_deadline_s)
        if verdict.state is RolloutState.HEALTHY:
            self._watched.pop(workflow.name, None)
            await self._judge(workflow, verdict)
        elif verdict.state is RolloutState.UNHEALTHY and workflow.record.state == RolloutState.PROGRESSING:
            await self._fail(workflow, verdict.why or Why("not-healthy", "it did not become healthy"))

    async def _fail(self, workflow: WorkflowImage, why: Why) -> None:
        """Go back to the last healthy revision, or say why that can't be done."""
        record = workflow.record
        if not record.healthy or record.returned_from:
            none = "the revision that it went back to" if record.returned_from else "there is no healthy one before it"
            await self._judge(workflow, Verdict(RolloutState.UNHEALTHY, Why(why.code, f"{why.message} ({none})")))
            return
        obstacles = await self._applying.obstacles_to_return(workflow)
        if obstacles:
            why = Why("cannot-go-back", f"{why.message}; {obstacles[0]}")
            await self._judge(workflow, Verdict(RolloutState.UNHEALTHY, why))
            return
        await self._applying.return_to_healthy(workflow.name, record.revision, why)

    async def _judge(self, workflow: WorkflowImage, verdict: Verdict) -> None:
        code, message = verdict.why or Why("", "")
        record = replace(workflow.record, state=int(verdict.state), why_code=code, why=message)
        if verdict.state is RolloutState.HEALTHY:
            record = replace(record, healthy=record.revision)
        workflow.record = record
        about = f"revision {record.revision}{': ' if message else ' runs'}{message}"
        event = f"rollout-{verdict.state.name.lower()}"
        self._leader.journal.add("workflow", record.name, event, about, workflow=record.name)
        await self._leader.persist(Changes(judged=[record]))
        self._leader.touch(workflow.name)
        self._leader.watchers.state_changed(workflow.name)
