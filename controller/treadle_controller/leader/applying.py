"""Applying a document: checked, compared with what is there, stored as a revision; only changed loops are touched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from treadle.workflow import Checked, Compiled, Difference, Finding, check, diff, read_document, workflow_name
from treadle.workflow.node_type import NodeType
from treadle_controller.cluster import scheduler
from treadle_controller.cluster.model import Desired, LoopRecord, Why
from treadle_controller.errors import Conflict, InvalidWorkflow
from treadle_controller.leader.image import WorkflowImage
from treadle_controller.store import dictionary, workflows
from treadle_controller.store.records import QueueRecord, RevisionRecord, WorkflowRecord

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did, or would do."""

    name: str
    workflow: WorkflowImage | None  # none when it was only asked what would happen to a new one
    difference: Difference
    findings: tuple[Finding, ...]
    placements: Mapping[str, str | Why]  # of loops that would be placed


class Applying:
    """Applies documents, one at a time."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._image = leader.image
        self._lock = asyncio.Lock()

    async def judge(self, document: bytes, name: str) -> tuple[str, Checked]:
        """Read and check a document beside the event loop; returns the workflow's name too."""
        return await asyncio.to_thread(_judge, document, name, dict(self._image.node_types), self._image.offered())

    async def apply(
        self, document: bytes, name: str, *, actor: str, if_revision: int | None = None, dry: bool = False
    ) -> Applied:
        """Make a document the newest revision. Raises InvalidWorkflow, or Conflict when another revision is there."""
        name, checked = await self.judge(document, name)
        if checked.compiled is None:
            count = len(checked.errors)
            errors = "1 error" if count == 1 else f"{count} errors"
            raise InvalidWorkflow(f"the workflow {name!r} has {errors}", checked.findings, name=name)
        async with self._lock:
            return await self._apply(name, document, checked, actor=actor, if_revision=if_revision, dry=dry)

    async def _apply(
        self, name: str, document: bytes, checked: Checked, *, actor: str, if_revision: int | None, dry: bool
    ) -> Applied:
        workflow = self._image.workflows.get(name)
        self._refuse_conflict(name, workflow, if_revision)
        new = _compiled(checked)
        difference = diff(workflow.compiled if workflow is not None else None, new)
        if dry:
            return Applied(name, workflow, difference, checked.findings, self._placements(workflow, new, difference))
        if workflow is not None and await self._is_same(workflow, document):
            return Applied(name, workflow, difference, checked.findings, {})
        workflow = await self._store(workflow, new, document, actor)
        return Applied(name, workflow, difference, checked.findings, {})

    async def _is_same(self, workflow: WorkflowImage, document: bytes) -> bool:
        namespace, record = self._image.namespace, workflow.record
        stored = await self._leader.store.read(
            lambda connection: workflows.get_document(connection, namespace, record.name, record.revision)
        )
        return stored == document

    async def _store(self, workflow: WorkflowImage | None, new: Compiled, document: bytes, actor: str) -> WorkflowImage:
        """Change memory, and hand the write over in the same breath."""
        now = time.time()
        number = workflow.record.revision + 1 if workflow is not None else 1
        created = workflow.record.created if workflow is not None else now
        record = WorkflowRecord(new.workflow, number, new.digest, created, now)
        if workflow is None:
            workflow = self._image.workflows[new.workflow] = WorkflowImage(record, new)
        changed = _loops(workflow, new, number)
        workflow.record, workflow.compiled, workflow.limits_due = record, new, True
        workflow.put_loops(changed)
        queues = [QueueRecord(new.workflow, queue) for queue in new.queues]
        self._remember_queues(new.workflow, queues)
        revision = RevisionRecord(new.workflow, number, new.digest, document, new, actor, now)
        message = f"revision {number}: {len(changed)} of {len(new.plans)} loops are touched"
        self._leader.journal.add(
            "workflow", new.workflow, "workflow-applied", message, workflow=new.workflow, actor=actor
        )
        namespace = self._image.namespace

        def write(connection: Connection) -> None:
            workflows.put_workflow(connection, namespace, record)
            workflows.add_revision(connection, namespace, revision)
            workflows.put_loops(connection, namespace, changed)
            dictionary.put_queues(connection, namespace, new.workflow, queues)

        self._leader.touch(new.workflow)
        await self._leader.store.write(write)
        return workflow

    def _remember_queues(self, workflow: str, queues: list[QueueRecord]) -> None:
        for key, record in self._image.queues.items():
            if record.workflow == workflow:
                self._image.queues[key] = replace(record, mentioned=False)
        self._image.queues |= {(record.queue.name, workflow): record for record in queues}

    def _placements(
        self, workflow: WorkflowImage | None, new: Compiled, difference: Difference
    ) -> dict[str, str | Why]:
        """Say where new loops would go if they were placed now, each by itself."""
        touched = {*difference.named("created"), *difference.named("changed")}
        plans = {plan.loop: plan for plan in new.plans}
        chosen: dict[str, str | Why] = {}
        for plan in (plan for plan in new.plans if plan.loop in touched):
            need = scheduler.need_of(plan, [plans[tail] for tail in plan.tails])
            held = [one.agent for id_, one in workflow.assignments.items() if id_.loop == plan.loop] if workflow else []
            chosen[plan.loop] = scheduler.choose(self._image.fleet, need, home=held[0] if held else "")
        return chosen

    def _refuse_conflict(self, name: str, workflow: WorkflowImage | None, if_revision: int | None) -> None:
        current = workflow.record.revision if workflow is not None else 0
        if if_revision is not None and if_revision != current:
            there = f"is at revision {current}" if current else "does not exist"
            message = f"the workflow {name!r} {there}, not at revision {if_revision}"
            raise Conflict(message, reason="revision-mismatch", kind="workflow", name=name)
        if workflow is not None and workflow.record.deleting:
            message = f"the workflow {name!r} is being deleted"
            raise Conflict(message, reason="workflow-deleting", kind="workflow", name=name)


def _judge(document: bytes, name: str, node_types: dict[str, NodeType], offered: set[str]) -> tuple[str, Checked]:
    read = read_document(document)
    if read.document is None:
        return name, Checked(None, read.findings)
    name = workflow_name(read.document, name)
    return name, check(read.document, name=name, node_types=node_types, offered=offered)


def _compiled(checked: Checked) -> Compiled:
    if checked.compiled is None:
        raise InvalidWorkflow("the workflow has errors", checked.findings)
    return checked.compiled


def _loops(workflow: WorkflowImage, new: Compiled, number: int) -> list[LoopRecord]:
    """Return the loops that a revision creates, changes or removes; the others are not touched."""
    desired = workflow.desired
    changed = []
    for plan in new.plans:
        old = workflow.loops.get(plan.loop)
        if old is None:
            changed.append(LoopRecord(new.workflow, number, plan, desired))
        elif old.removed or old.plan.digest != plan.digest:
            wanted = Desired.RUNNING if old.removed else old.desired
            changed.append(replace(old, revision=number, plan=plan, desired=wanted, removed=False, entered=False))
    names = {plan.loop for plan in new.plans}
    changed += [replace(old, removed=True) for old in workflow.loops.values() if old.name not in names]
    return changed
