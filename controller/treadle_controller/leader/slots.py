"""Reader slots: who reads each queue, as Redis has to know it, and scaling when that changes.

A queue with one reader needs no slots: it claims nothing. As soon as there are several, or there were, Redis is told
all of them in one step (SCALE) that gives every one of them a new epoch, so no claim is made under the old division.
Slots that go are drained first: while a replica that lost its slot is still held, or one is being let go, nothing
is done. What Redis was told last is asked of Redis itself: it may have gone back to an earlier moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from treadle.errors import QueueError
from treadle.queues.tenure import LoopKey
from treadle_controller.cluster.actions import Place
from treadle_controller.cluster.model import Assignment, Desired, ReplicaId
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.leader.journal import Journal
from treadle_controller.leader.link import QueueLink
from treadle_controller.leader.settle import totals

_MOST_TRIES: Final = 5
_Slots = tuple[LoopKey, ...]


class Slots:
    """See the module. Loops that get a new epoch go into `unsent`, and to their agents once they are admitted."""

    def __init__(
        self,
        image: Image,
        link: QueueLink,
        journal: Journal,
        unsent: dict[ReplicaId, Place],
        persist: Callable[[Changes], Awaitable[None]],
    ) -> None:
        self._image = image
        self._link = link
        self._journal = journal
        self._unsent = unsent
        self._persist = persist
        self._told: dict[str, _Slots] = {}  # by queue; those that Redis was not asked about are missing

    def forget(self) -> None:
        """Ask Redis again what it knows: it was away."""
        self._told.clear()
        for workflow in self._image.workflows.values():
            workflow.slots_due.update(read for loop in workflow.loops.values() for read in loop.plan.reads)
        self._image.slots_due.update(one.queue for one in self._image.consumers.values())

    def is_settled(self, queue: str) -> bool:
        """Whether Redis knows the slots of a queue as they are now."""
        return queue in self._told and self._is_right(queue, self._wanted(queue))

    async def settle(self, workflows: Iterable[WorkflowImage]) -> None:
        """Tell Redis the slots of queues where they changed. Raises QueueError when it can't be asked."""
        due: dict[str, None] = dict.fromkeys(sorted(self._image.slots_due))
        for workflow in workflows:
            due |= dict.fromkeys(sorted(workflow.slots_due))
        if not due:
            return
        await self._ask([name for name in due if name not in self._told])
        changed: dict[str, _Slots] = {}
        for name in due:
            wanted = self._wanted(name)
            if not self._is_right(name, wanted):
                if self._must_wait(name, wanted):
                    continue  # looked at again when whoever it waits for is let go
                changed[name] = wanted
        if changed:
            await self._scale(changed)
        for workflow in workflows:
            workflow.slots_due.difference_update(due)
        self._image.slots_due.difference_update(due)

    async def retire(self, workflows: Iterable[WorkflowImage]) -> None:
        """Take replicas that their loops no longer have out of the queues that they wrote, and forget them."""
        changes, queues = Changes(), defaultdict[str, list[LoopKey]](list)
        for workflow in workflows:
            for id_ in list(_left_over(workflow)):
                plan = workflow.loops[id_.loop].plan
                if any(LoopKey(*id_) in self._told.get(queue, ()) for queue in plan.reads):
                    continue
                for queue in plan.writes:
                    queues[queue].append(LoopKey(*id_))
                changes.retired.append(id_)
        if queues:
            await self._link.admin.enter_writers({}, drop=queues)
        await self._link.admin.forget(*(LoopKey(*id_) for id_ in changes.retired))
        for id_ in changes.retired:
            workflow = self._image.workflows[id_.workflow]
            committed, errors = totals(workflow, workflow.assignments[id_])
            loop = workflow.loops[id_.loop]
            loop = replace(loop, past_committed=loop.past_committed + committed, past_errors=loop.past_errors + errors)
            workflow.put_loops([loop])
            changes.loops[workflow.name, loop.name] = loop
            self._image.retire(workflow, id_)
        if changes.retired:
            await self._persist(changes)

    async def _ask(self, names: Sequence[str]) -> None:
        if names:
            self._told |= {**dict.fromkeys(names, ()), **await self._link.admin.slots(names)}

    def _wanted(self, queue: str) -> _Slots:
        """Return the slots that a queue should have: all loops that read it, of any workflow, and programs outside."""
        loops = (loop for workflow in self._image.workflows.values() for loop in workflow.readers(queue))
        active = (loop for loop in loops if not loop.removed and loop.desired is not Desired.STOPPED)
        slots = [LoopKey(*id_) for loop in active for id_ in loop.replicas]
        if self._image.consumers and self._image.is_external(queue):
            slots += (one.key for one in self._image.consumers_of(queue))
        return tuple(sorted(slots))

    def _is_right(self, queue: str, wanted: _Slots) -> bool:
        told = self._told.get(queue, ())
        if not wanted or wanted == told:
            return True
        return not told and len(wanted) == 1 and not self._drops(queue)

    def _drops(self, queue: str) -> bool:
        """Whether a queue drops its oldest messages: even its only reader claims what it reads."""
        found = (workflow.queue(queue) for workflow in self._image.workflows.values())
        return any(one is not None and one.limits.when_full == "drop-oldest" for one in found)

    def _must_wait(self, queue: str, wanted: _Slots) -> bool:
        told = self._told.get(queue, ())
        going = [one for key in told if key not in wanted and (one := self._assignment(key)) is not None]
        staying = [one for key in wanted if (one := self._assignment(key)) is not None]
        return any(one.held for one in going) or any(one.held and one.releasing for one in staying)

    async def _scale(self, changed: Mapping[str, _Slots]) -> None:
        keys = dict.fromkeys(key for queue, slots in changed.items() for key in (*slots, *self._told[queue]))
        for _ in range(_MOST_TRIES):
            epochs = await self._renew(keys)
            try:
                await self._link.admin.scale(epochs, changed, self._link.term)
            except QueueError as exc:
                stored = exc.details.get("stored")
                if stored is None:
                    raise
                self._image.epoch = max(self._image.epoch, int(stored))
                continue
            break
        else:
            raise QueueError("Redis keeps refusing epochs: does another controller lead?", reason="EPOCHS")
        for queue, slots in changed.items():
            self._told[queue] = slots
            count = "1 reader slot" if len(slots) == 1 else f"{len(slots)} reader slots"
            owner = next((key.workflow for key in slots if key not in self._image.consumers), "")
            self._journal.add("queue", queue, "queue-scaled", f"it has {count}", workflow=owner)

    async def _renew(self, keys: Iterable[LoopKey]) -> list[tuple[LoopKey, int]]:
        """Give new epochs to all replicas that ever had one; on disk before Redis hears of them."""
        changes, epochs = Changes(), []
        for key in keys:
            consumer = self._image.consumers.get(key)
            if consumer is not None:
                changes.consumers[key] = renewed = replace(consumer, epoch=self._image.next_epoch())
                self._image.consumers[key] = renewed
                epochs.append((key, renewed.epoch))
                continue
            old = self._assignment(key)
            if old is None:
                continue
            workflow = self._image.workflows[key.workflow]
            new = replace(old, epoch=self._image.next_epoch(), sequence=old.sequence + 1)
            self._image.put_assignment(workflow, new)
            changes.assignments[new.id] = new
            epochs.append((key, new.epoch))
            if new.held and new.id not in self._unsent:
                self._unsent[new.id] = Place(new.id, new.agent, workflow.loops[key.loop], heard=True)
        changes.epoch = self._image.epoch
        await self._persist(changes)
        return epochs

    def _assignment(self, key: LoopKey) -> Assignment | None:
        workflow = self._image.workflows.get(key.workflow)
        if workflow is None or key.loop not in workflow.loops:
            return None
        return workflow.assignments.get(ReplicaId(*key))


def _left_over(workflow: WorkflowImage) -> Iterator[ReplicaId]:
    for name, top in workflow.tops.items():
        loop = workflow.loops.get(name) if top > 1 else None  # nearly all loops have one replica, and never had more
        for index in range(loop.count if loop is not None else top, top):
            id_ = ReplicaId(workflow.name, name, index)
            found = workflow.assignments.get(id_)
            if found is not None and not found.held:
                yield id_
