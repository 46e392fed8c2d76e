"""What people ask for: changes of desired state. Each is on disk when it returns; rounds carry it out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from sqlalchemy import Connection

from treadle_controller.cluster import halt
from treadle_controller.cluster.model import Desired, LoopRecord
from treadle_controller.errors import Conflict, NotFound, Refused
from treadle_controller.leader.image import WorkflowImage
from treadle_controller.leader.scaling import obstacle
from treadle_controller.store import agents, workflows

DRAIN_S: Final = 60.0  # a drain that says nothing else may take so long

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader


class Commands:
    """Starting, stopping, restarting and deleting; agents' cordons and drains. Applying is in `applying`."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._image = leader.image

    def workflow(self, name: str) -> WorkflowImage:
        """Return a workflow, or raise NotFound."""
        found = self._image.workflows.get(name)
        if found is None:
            raise NotFound(f"there is no workflow {name!r}", reason="workflow-not-found", kind="workflow", name=name)
        return found

    def target(self, workflow: str, loop: str) -> tuple[WorkflowImage, list[LoopRecord]]:
        """Return the loops that a target names: all, or one with its tails. Raises NotFound."""
        found = self.workflow(workflow)
        loops = [one for one in found.loops.values() if not one.removed]
        if not loop:
            return found, loops
        if loop not in found.loops or found.loops[loop].removed:
            name = f"{workflow}/{loop}"
            raise NotFound(f"there is no loop {name!r}", reason="loop-not-found", kind="loop", name=name)
        return found, [one for one in loops if one.name == loop or one.name.startswith(f"{loop}~")]

    async def desire(
        self, workflow: str, loop: str, desired: Desired, *, actor: str, dry: bool = False
    ) -> tuple[WorkflowImage, list[LoopRecord]]:
        """Want loops to run, pause or stop. With `dry` only looks whether it could."""
        found, loops = self.target(workflow, loop)
        self._refuse_deleting(found)
        if dry:
            return found, loops
        changed = [replace(one, desired=desired) for one in loops if one.desired is not desired]
        verbs = {Desired.RUNNING: "started", Desired.PAUSED: "paused", Desired.STOPPED: "stopped"}
        also = self._end_halt(found) if desired is Desired.RUNNING else None
        await self._put(found, changed, code=f"loop-{verbs[desired]}", actor=actor, also=also)
        return found, self._again(found, loops)

    async def restart(
        self, workflow: str, loop: str, *, fresh: bool, actor: str, dry: bool = False
    ) -> tuple[WorkflowImage, list[LoopRecord]]:
        """Start loops anew, completed and failed ones too; `fresh` forgets their state first."""
        found, loops = self.target(workflow, loop)
        self._refuse_deleting(found)
        if dry:
            return found, loops
        changed = [self._restarted(one, fresh=fresh) for one in loops]
        await self._put(found, changed, code="loop-restarted", actor=actor, also=self._end_halt(found))
        return found, self._again(found, loops)

    async def scale(
        self, workflow: str, loop: str, count: int, *, actor: str, dry: bool = False
    ) -> tuple[WorkflowImage, list[LoopRecord]]:
        """Give a loop and its tails so many replicas. Raises Refused with the reason where that is not possible."""
        found, loops = self.target(workflow, loop)
        self._refuse_deleting(found)
        head, tails = found.loops[loop], [one.plan for one in loops if one.name != loop]
        why = obstacle(head.plan, tails, self._image.node_types)
        if why is not None and (count > 1 or head.plan.tail_of is not None):
            raise Refused(why.message, reason=why.code, kind="loop", name=f"{workflow}/{loop}")
        if dry:
            return found, [replace(one, scaled=count) for one in loops]
        changed = [replace(one, scaled=count, entered=False) for one in loops if one.count != count]
        await self._put(found, changed, code="loop-scaled", actor=actor)
        return found, self._again(found, loops)

    async def delete(self, name: str, *, with_queues: bool, actor: str) -> None:
        """Drain all loops and let go of the workflow; returns when it is gone."""
        found = self.workflow(name)
        found.record = replace(found.record, deleting=True, with_queues=with_queues, updated=time.time())
        record = found.record
        changed = [replace(loop, desired=Desired.STOPPED, removed=True) for loop in found.loops.values()]
        self._leader.journal.add("workflow", name, "workflow-deleting", "it is drained", workflow=name, actor=actor)
        namespace = self._image.namespace
        await self._put(found, changed, also=lambda connection: workflows.put_workflow(connection, namespace, record))
        await self._leader.deletion.wait(name)

    def agent(self, name: str) -> None:
        """Raise NotFound if there is no such agent."""
        if name not in self._image.agents:
            raise NotFound(f"there is no agent {name!r}", reason="agent-not-found", kind="agent", name=name)

    async def cordon(self, name: str, *, cordoned: bool, actor: str) -> None:
        """Place nothing new on an agent, or do so again."""
        self.agent(name)
        if not cordoned:
            self._drained_until(name, 0.0)  # first: the record that the next round writes has to have it
        self._leader.roster.set_cordoned(name, cordoned=cordoned)
        if not cordoned:
            self._leader.roster.leaving.stay(name)
            self._leader.roster.note_joined()
        code = "agent-cordoned" if cordoned else "agent-uncordoned"
        self._leader.journal.add("agent", name, code, code.replace("-", " "), actor=actor)
        record = self._image.agents[name]
        await self._leader.store.write(lambda connection: agents.put_agent(connection, record))

    async def drain(self, name: str, *, actor: str, deadline_s: float = DRAIN_S) -> None:
        """Cordon an agent and hand its loops over, one by one; what is left at the deadline is forced off it."""
        self.agent(name)
        self._drained_until(name, time.time() + deadline_s)
        self._leader.roster.leaving.drain(name, deadline_s, stopping=False)
        message = f"its loops are handed over within {deadline_s:g} s"
        self._leader.journal.add("agent", name, "agent-draining", message, actor=actor)
        await self.cordon(name, cordoned=True, actor=actor)

    def _drained_until(self, name: str, until: float) -> None:
        self._image.agents[name] = replace(self._image.agents[name], drain_until=until)

    async def _put(
        self,
        workflow: WorkflowImage,
        changed: Sequence[LoopRecord],
        *,
        code: str = "",
        actor: str = "",
        also: Callable[[Connection], None] | None = None,
    ) -> None:
        workflow.put_loops(changed)
        for loop in changed if code else ():
            name = f"{workflow.name}/{loop.name}"
            message = code.replace("-", " ")
            self._leader.journal.add("loop", name, code, message, workflow=workflow.name, actor=actor)
        namespace = self._image.namespace

        def write(connection: Connection) -> None:
            workflows.put_loops(connection, namespace, changed)
            if also is not None:
                also(connection)

        self._leader.touch(workflow.name)
        if changed or also is not None:
            await self._leader.store.write(write)

    def _end_halt(self, workflow: WorkflowImage) -> Callable[[Connection], None] | None:
        """Forget that a node stopped the workflow, if one did: somebody starts it again."""
        if workflow.record.why_code != halt.CODE:
            return None
        workflow.record = record = replace(workflow.record, why_code="", why="")
        namespace = self._image.namespace
        return lambda connection: workflows.put_workflow(connection, namespace, record)

    def _restarted(self, loop: LoopRecord, *, fresh: bool) -> LoopRecord:
        restarts = loop.restarts + 1
        desired = Desired.RUNNING if loop.desired is Desired.STOPPED else loop.desired
        return replace(loop, restarts=restarts, fresh=restarts if fresh else loop.fresh, desired=desired)

    def _again(self, workflow: WorkflowImage, loops: Iterable[LoopRecord]) -> list[LoopRecord]:
        return [workflow.loops[loop.name] for loop in loops if loop.name in workflow.loops]

    def _refuse_deleting(self, workflow: WorkflowImage) -> None:
        if workflow.record.deleting:
            message = f"the workflow {workflow.name!r} is being deleted"
            raise Conflict(message, reason="workflow-deleting", kind="workflow", name=workflow.name)
