"""Applying a document: checked, compared with what is there, stored as a revision; only changed loops are touched."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from msgspec import structs
from sqlalchemy import Connection

from treadle.workflow import Checked, Compiled, Difference, Finding, check, diff, read_document, workflow_name
from treadle.workflow.node_type import NodeType
from treadle.workflow.plan import Plan, Pool
from treadle_controller.cluster import halt
from treadle_controller.cluster.forecast import forecast
from treadle_controller.cluster.model import Desired, LoopRecord, ReplicaId, Why
from treadle_controller.cluster.rollout import RolloutState, cannot_go_back
from treadle_controller.errors import Conflict, InvalidWorkflow, NotFound
from treadle_controller.leader.image import WorkflowImage
from treadle_controller.leader.keepsakes import Keepsakes
from treadle_controller.leader.scaling import obstacle, root_of
from treadle_controller.store import codec, dictionary, workflows
from treadle_controller.store.records import QueueRecord, RevisionRecord, WorkflowRecord

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader


_Encoded = tuple[bytes, list[tuple[Plan, bytes]]]  # a compiled workflow, and each of its plans, as JSON
_MOST_LOOKED_AT: Final = 100  # revisions, for one that was healthy


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did, or would do."""

    name: str
    workflow: WorkflowImage | None  # none when it was only asked what would happen to a new one
    difference: Difference
    findings: tuple[Finding, ...]
    placements: Mapping[str, list[str] | Why]  # of all loops, an agent for each replica; when it was only asked


class Applying:
    """Applies documents, one at a time."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._image = leader.image
        self._keepsakes = Keepsakes(self._image.loops)

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
        encoded = None if dry else await asyncio.to_thread(codec.encode_plans, checked.compiled)
        async with self._leader.apply_lock:
            return await self._apply(name, document, checked, encoded, actor=actor, if_revision=if_revision, dry=dry)

    async def _apply(
        self,
        name: str,
        document: bytes,
        checked: Checked,
        encoded: _Encoded | None,
        *,
        actor: str,
        if_revision: int | None,
        dry: bool,
    ) -> Applied:
        workflow = self._image.workflows.get(name)
        self._refuse_conflict(name, workflow, if_revision)
        new = _compiled(checked)
        difference = diff(workflow.compiled if workflow is not None else None, new)
        if dry:
            difference = await self._warned(workflow, new, difference)
            return Applied(name, workflow, difference, checked.findings, self._forecast(workflow, new))
        if workflow is not None and await self._is_same(workflow, document):
            return Applied(name, workflow, difference, checked.findings, {})
        workflow = await self._store(workflow, new, document, actor, encoded=encoded)
        return Applied(name, workflow, difference, checked.findings, {})

    async def undo(
        self, name: str, number: int, *, actor: str, if_revision: int | None = None, dry: bool = False
    ) -> Applied:
        """Apply an older revision again, as a new one; 0 is the last healthy one before the newest.

        Raises NotFound when there is no such revision, Conflict as `apply` does.
        """
        async with self._leader.apply_lock:
            workflow = self._image.workflows.get(name)
            if workflow is None:
                raise NotFound(
                    f"there is no workflow {name!r}", reason="workflow-not-found", kind="workflow", name=name
                )
            self._refuse_conflict(name, workflow, if_revision)
            old = await self._revision(name, number or await self._before(workflow))
            difference = diff(workflow.compiled, old.compiled)
            if dry:
                return Applied(name, workflow, difference, (), self._forecast(workflow, old.compiled))
            if old.number != workflow.record.revision:
                await self._store(workflow, old.compiled, old.document, actor)
            return Applied(name, workflow, difference, (), {})

    async def obstacles_to_return(self, workflow: WorkflowImage) -> tuple[str, ...]:
        """Return why the last healthy revision could not take over the state of the newest."""
        old = await self._revision(workflow.name, workflow.record.healthy)
        return cannot_go_back(workflow.compiled, old.compiled, self._image.node_types)

    async def return_to_healthy(self, name: str, failed: int, why: Why) -> None:
        """Apply the last healthy revision again, unless somebody applied another one in the meantime."""
        async with self._leader.apply_lock:
            workflow = self._image.workflows.get(name)
            if workflow is None or workflow.record.revision != failed or workflow.record.deleting:
                return
            old = await self._revision(name, workflow.record.healthy)
            await self._store(workflow, old.compiled, old.document, "controller", returned=why)

    async def _revision(self, name: str, number: int) -> RevisionRecord:
        namespace = self._image.namespace
        found = await self._leader.store.read(
            lambda connection: workflows.get_revision(connection, namespace, name, number)
        )
        if found is None:
            full = f"{name}@{number}"
            raise NotFound(f"there is no revision {full!r}", reason="revision-not-found", kind="revision", name=full)
        return found

    async def _before(self, workflow: WorkflowImage) -> int:
        """Return the last revision that was healthy before the newest, else the one before it."""
        namespace, record = self._image.namespace, workflow.record
        if record.healthy and record.healthy != record.revision:
            return record.healthy
        older = await self._leader.store.read(
            lambda connection: workflows.list_revisions(
                connection, namespace, record.name, below=record.revision, most=_MOST_LOOKED_AT
            )
        )
        healthy = [one for one in older if one.state == RolloutState.HEALTHY and one.digest != record.digest]
        if not older:
            full = f"{record.name}@{record.revision - 1}"
            message = f"there is nothing before revision {record.revision} of {record.name!r}"
            raise NotFound(message, reason="revision-not-found", kind="revision", name=full)
        return (healthy or older)[0].number

    async def _is_same(self, workflow: WorkflowImage, document: bytes) -> bool:
        namespace, record = self._image.namespace, workflow.record
        stored = await self._leader.store.read(
            lambda connection: workflows.get_document(connection, namespace, record.name, record.revision)
        )
        return stored == document

    async def _store(
        self,
        workflow: WorkflowImage | None,
        new: Compiled,
        document: bytes,
        actor: str,
        *,
        returned: Why | None = None,
        encoded: _Encoded | None = None,
    ) -> WorkflowImage:
        """Change memory, and hand the write over in the same breath. `returned` is why the newest one is left again."""
        now = time.time()
        before = workflow.record if workflow is not None else None
        number = before.revision + 1 if before is not None else 1
        record = WorkflowRecord(new.workflow, number, new.digest, before.created if before is not None else now, now)
        if workflow is None:
            workflow = self._image.workflows[new.workflow] = WorkflowImage(record, new)
        whole, plans = encoded if encoded is not None else codec.encode_plans(new)
        for plan, plan_json in plans:
            self._leader.roster.plans.put(plan, plan_json)
        changed = _loops(workflow, new, number, self._image.node_types)
        record = _rolling_out(record, before, touches=bool(changed), returned=returned is not None)
        workflow.record, workflow.compiled, workflow.limits_due = record, new, True
        workflow.put_loops(changed)
        queues = [QueueRecord(new.workflow, queue) for queue in new.queues]
        self._remember_queues(new.workflow, queues)
        revision = RevisionRecord(new.workflow, number, new.digest, document, new, actor, now, record.state)
        code, message = "workflow-applied", f"revision {number}: {len(changed)} of {len(new.plans)} loops are touched"
        if returned is not None and before is not None:
            code = "rollout-returned"
            message = (
                f"revision {before.revision} goes back to what revision {before.healthy} was, as revision {number}: "
                f"{returned.message}"
            )
        self._leader.journal.add("workflow", new.workflow, code, message, workflow=new.workflow, actor=actor)
        namespace = self._image.namespace

        def write(connection: Connection) -> None:
            workflows.put_workflow(connection, namespace, record)
            workflows.add_revision(connection, namespace, revision, whole)
            if before is not None and before.state == RolloutState.PROGRESSING:
                state = RolloutState.RETURNED if returned is not None else RolloutState.SUPERSEDED
                why = returned or Why("superseded", f"revision {number} was applied before it was healthy")
                workflows.judge_revision(
                    connection, namespace, before.name, before.revision, state=state, why_code=why.code, why=why.message
                )
            workflows.put_loops(connection, namespace, changed)
            dictionary.put_queues(connection, namespace, new.workflow, queues)

        self._leader.touch(new.workflow)
        self._leader.rolling.watch(workflow)
        self._keepsakes.note(self._image.loops)
        await self._leader.store.write(write)
        return workflow

    def _remember_queues(self, workflow: str, queues: list[QueueRecord]) -> None:
        self._image.mirror_due |= {record.queue.name for record in queues}
        for key, record in self._image.queues.items():
            if record.workflow == workflow:
                self._image.mirror_due.add(record.queue.name)
                self._image.queues[key] = structs.replace(record, mentioned=False)
        self._image.queues |= {(record.queue.name, workflow): record for record in queues}

    def _forecast(self, workflow: WorkflowImage | None, new: Compiled) -> dict[str, list[str] | Why]:
        """Say where the loops of a revision would run, as the reconciler itself finds it."""
        record = WorkflowRecord(new.workflow, 1, new.digest, 0.0, 0.0)
        copy = WorkflowImage(record, new)
        if workflow is not None:
            copy = replace(workflow, compiled=new, loops=dict(workflow.loops), slots_due=set(), widest={}, moves={})
        copy.put_loops(_loops(copy, new, copy.record.revision + 1, self._image.node_types))
        pools: dict[ReplicaId, Pool] = {id_: plan.pool for id_, plan in copy.plans.items()}
        found = forecast(copy.picture(), self._image.fleet, pools)
        placed: dict[str, list[str] | Why] = {}
        for plan in new.plans:
            replicas = [found[id_] for id_ in copy.loops[plan.loop].replicas if id_ in found]
            homeless = [one for one in replicas if isinstance(one, Why)]
            placed[plan.loop] = homeless[0] if homeless else [one for one in replicas if isinstance(one, str)]
        return placed

    async def _warned(self, workflow: WorkflowImage | None, new: Compiled, difference: Difference) -> Difference:
        """Add to a difference why the revision that runs could not take over again from the new one."""
        if workflow is None:
            return difference
        reasons = cannot_go_back(new, workflow.compiled, self._image.node_types)
        if not reasons:
            return difference
        nodes = {plan.loop: {f"node '{step.node}' " for step in plan.steps} for plan in new.plans}
        loops = tuple(
            replace(
                one, reasons=(*one.reasons, *(r for r in reasons if any(map(r.startswith, nodes.get(one.name, ())))))
            )
            for one in difference.loops
        )
        return replace(difference, loops=loops)

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


def _rolling_out(
    record: WorkflowRecord, before: WorkflowRecord | None, *, touches: bool, returned: bool
) -> WorkflowRecord:
    """Return the record of a new revision with its rollout begun; one that touches nothing is as healthy as before."""
    healthy = before.healthy if before is not None else 0
    halted = before is not None and before.why_code == halt.CODE
    if before is not None and halted:  # it stays stopped until somebody starts it, and goes on saying why
        record = structs.replace(record, why_code=before.why_code, why=before.why)
    if before is not None and before.state == RolloutState.HEALTHY and not touches:
        return structs.replace(record, state=int(RolloutState.HEALTHY), healthy=record.revision)
    returned_from = before.revision if before is not None and returned else 0
    state = RolloutState.UNHEALTHY if halted else RolloutState.PROGRESSING
    return structs.replace(record, state=int(state), healthy=healthy, returned_from=returned_from)


def _loops(workflow: WorkflowImage, new: Compiled, number: int, node_types: Mapping[str, NodeType]) -> list[LoopRecord]:
    """Return the loops that a revision creates, changes or removes; the others are not touched."""
    desired = workflow.desired
    scaled = _scaled(workflow, new, node_types)
    changed = []
    for plan in new.plans:
        old, count = workflow.loops.get(plan.loop), scaled[plan.loop]
        if old is None:
            changed.append(LoopRecord(new.workflow, number, plan, desired, scaled=count))
        elif old.removed or old.plan.digest != plan.digest:
            halted = workflow.record.why_code == halt.CODE
            wanted = Desired.RUNNING if old.removed and not halted else old.desired
            changed.append(
                structs.replace(
                    old, revision=number, plan=plan, desired=wanted, removed=False, entered=False, scaled=count
                )
            )
        elif old.scaled != count:
            changed.append(structs.replace(old, scaled=count, entered=False))
    names = {plan.loop for plan in new.plans}
    changed += [structs.replace(old, removed=True) for old in workflow.loops.values() if old.name not in names]
    return changed


def _scaled(workflow: WorkflowImage, new: Compiled, node_types: Mapping[str, NodeType]) -> dict[str, int]:
    """Return the replicas that somebody asked for and that a revision keeps: unless it says another number itself."""
    plans = {plan.loop: plan for plan in new.plans}
    if not workflow.loops:
        return dict.fromkeys(plans, 0)
    families: defaultdict[str, list[Plan]] = defaultdict(list)
    for plan in new.plans:
        families[root_of(plan.loop)].append(plan)
    kept: dict[str, int] = {}
    for name, plan in plans.items():
        root = root_of(name)
        old, head = workflow.loops.get(root), plans.get(root, plan)
        tails = [one for one in families[root] if one is not head]
        keeps = old is not None and not old.removed and old.plan.replicas == head.replicas
        keeps = keeps and obstacle(head, tails, node_types) is None
        kept[name] = old.scaled if old is not None and keeps else 0
    return kept
