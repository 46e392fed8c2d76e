"""Admission: what Redis has to know before an agent may run a loop.

Per placement, in this order: forget or reopen what is asked for, enter the writers of the whole revision and its
limits, then make the epochs current. An epoch that Redis refuses is replaced by one above the stored one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from treadle.errors import QueueError
from treadle.queues.tenure import LoopKey
from treadle_controller.cluster.actions import Place
from treadle_controller.cluster.model import Assignment, LoopRecord, ReplicaId
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.leader.link import QueueLink

_MOST_TRIES: Final = 5


class Admission:
    """See the module. `unsent` are the placements that wait; those admitted are taken out of it."""

    def __init__(
        self,
        image: Image,
        link: QueueLink,
        unsent: dict[ReplicaId, Place],
        persist: Callable[[Changes], Awaitable[None]],
    ) -> None:
        self._image = image
        self._link = link
        self._unsent = unsent
        self._persist = persist
        self._leaving: defaultdict[str, list[LoopKey]] = defaultdict(list)

    async def admit(self, ids: Iterable[ReplicaId]) -> list[ReplicaId]:
        """Admit what waits of these; returns what may be sent. Raises QueueError when Redis can't be asked."""
        places: list[Place] = []
        epochs: dict[ReplicaId, int] = {}  # what is given out anew from here on has to wait until it is on disk
        for id_ in ids:
            place, one = self._unsent.get(id_), self._assignment(id_)
            if place is not None and one is not None:
                places.append(place)
                epochs[id_] = one.epoch
        if not places:
            return []
        await self._prepare(places)
        await self._enter(dict.fromkeys(id_.workflow for id_ in epochs))
        return await self._assign(epochs)

    async def limit(self, workflows: Iterable[WorkflowImage]) -> None:
        """Tell Redis the limits of queues where they are new."""
        for workflow in workflows:
            if workflow.limits_due:
                workflow.limits_due = False
                try:
                    await self._link.admin.set_limits({queue.name: queue.limits for queue in workflow.compiled.queues})
                except QueueError:
                    workflow.limits_due = True
                    raise

    async def leave(self, dropped: Iterable[LoopRecord]) -> None:
        """Take the writers of removed loops out of their queues; those that Redis has not heard of yet, too."""
        for loop in dropped:
            for queue in loop.plan.writes:
                self._leaving[queue] += [LoopKey(*id_) for id_ in loop.replicas]
        if self._leaving:
            await self._link.admin.enter_writers({}, drop=self._leaving)
            self._leaving.clear()

    async def _prepare(self, places: list[Place]) -> None:
        asked = [place for place in places if place.forget or place.reopen]
        if not asked:
            return
        await self._link.admin.forget(*(LoopKey(*place.id) for place in asked if place.forget))
        for place in asked:
            if not place.forget:
                await self._link.admin.reopen(LoopKey(*place.id))
        await self._enter_writers((place.loop, (place.id,)) for place in asked)
        for place in asked:
            if self._unsent.get(place.id) is place:
                self._unsent[place.id] = replace(place, forget=False, reopen=False)

    async def _enter(self, names: Iterable[str]) -> None:
        """Enter the writers of revisions, before any loop of them is assigned."""
        changes = Changes()
        for name in names:
            workflow = self._image.workflows[name]
            new = [workflow.loops[name] for name in workflow.unentered]
            if new:
                await self._enter_writers((loop, loop.replicas) for loop in new)
                entered = [replace(loop, entered=True) for loop in new if workflow.loops.get(loop.name) is loop]
                workflow.put_loops(entered)
                changes.loops |= {(name, loop.name): loop for loop in entered}
        if changes.to_write:
            await self._persist(changes)

    async def _enter_writers(self, writers: Iterable[tuple[LoopRecord, tuple[ReplicaId, ...]]]) -> None:
        queues: defaultdict[str, list[LoopKey]] = defaultdict(list)
        for loop, ids in writers:
            for queue in loop.plan.writes:
                queues[queue] += [LoopKey(*id_) for id_ in ids]
        await self._link.admin.enter_writers(queues)

    async def _assign(self, epochs: Mapping[ReplicaId, int]) -> list[ReplicaId]:
        admitted: list[ReplicaId] = []
        for _ in range(_MOST_TRIES):
            asked = {id_: epoch for id_, epoch in epochs.items() if self._is_still(id_, epoch)}
            refused = await self._link.admin.assign([(LoopKey(*i), e) for i, e in asked.items()], self._link.term)
            stored = {ReplicaId(*key): epoch for key, epoch in refused.items()}
            again = {id_ for id_, epoch in stored.items() if epoch > asked[id_]}
            done = [id_ for id_, epoch in asked.items() if id_ not in again and self._is_still(id_, epoch)]
            for id_ in done:
                self._unsent.pop(id_, None)
            admitted += done
            if not again:
                return admitted
            epochs = await self._renew(again, above=max(stored.values()))
        raise QueueError("Redis keeps refusing epochs: does another controller lead this namespace?", reason="EPOCHS")

    async def _renew(self, ids: Iterable[ReplicaId], *, above: int) -> dict[ReplicaId, int]:
        """Give new epochs, above one that Redis holds already; returns them once they are on disk."""
        self._image.epoch = max(self._image.epoch, above)
        changes = Changes()
        for id_ in ids:
            old = self._assignment(id_)
            if old is not None:
                new = replace(old, epoch=self._image.next_epoch(), sequence=old.sequence + 1)
                self._image.put_assignment(self._image.workflows[id_.workflow], new)
                changes.assignments[id_] = new
        changes.epoch = self._image.epoch
        await self._persist(changes)
        return {id_: one.epoch for id_, one in changes.assignments.items()}

    def _assignment(self, id_: ReplicaId) -> Assignment | None:
        workflow = self._image.workflows.get(id_.workflow)
        found = workflow.assignments.get(id_) if workflow is not None else None
        return found if found is not None and found.held else None

    def _is_still(self, id_: ReplicaId, epoch: int) -> bool:
        found = self._assignment(id_)
        return found is not None and found.epoch == epoch
