"""Deleting a workflow: its loops drain first, then its records and, if asked, its queues go. A queue alone, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from treadle.errors import QueueError
from treadle.queues.tenure import LoopKey
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.image import WorkflowImage
from treadle_controller.store import dictionary

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader


class Deletion:
    """Finishes deletions once no loop is left, and tells those who wait for them."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def wait(self, workflow: str) -> None:
        """Wait until a workflow that is being deleted is gone."""
        future = self._waiting.setdefault(workflow, asyncio.get_running_loop().create_future())
        await asyncio.shield(future)

    async def finish(self, deleting: Iterable[WorkflowImage]) -> None:
        for workflow in deleting:
            if not workflow.loops:
                await self._finish_one(workflow)

    async def _finish_one(self, workflow: WorkflowImage) -> None:
        if not self._leader.link.up:
            return  # looked at again when Redis is back
        try:
            await self._clear_redis(workflow)
        except QueueError as exc:
            self._leader.link.fail(exc.message)
            return
        await self._leader.persist(Changes(gone=[workflow.name]))
        self._leader.image.workflows.pop(workflow.name, None)
        for key, record in list(self._leader.image.queues.items()):
            if record.workflow == workflow.name:
                self._leader.image.mirror_due.add(record.queue.name)
                self._leader.image.queues[key] = type(record)(record.workflow, record.queue, mentioned=False)
        self._leader.journal.add("workflow", workflow.name, "workflow-deleted", "it is gone", workflow=workflow.name)
        self._leader.watchers.state_changed(workflow.name)
        future = self._waiting.pop(workflow.name, None)
        if future is not None and not future.done():
            future.set_result(None)

    async def _clear_redis(self, workflow: WorkflowImage) -> None:
        widths = {plan.loop: max(plan.replicas, workflow.widest.get(plan.loop, 0)) for plan in workflow.compiled.plans}
        replicas = (LoopKey(workflow.name, loop, at) for loop, width in widths.items() for at in range(width))
        await self._leader.link.admin.forget(*replicas)
        if workflow.record.with_queues:
            await self._delete_queues(workflow)

    async def _delete_queues(self, workflow: WorkflowImage) -> None:
        """Delete the queues that no other workflow names."""
        image = self._leader.image
        others = {name for (name, owner), one in image.queues.items() if owner != workflow.name and one.mentioned}
        await self.drop_queues(queue.name for queue in workflow.compiled.queues if queue.name not in others)

    async def drop_queues(self, names: Iterable[str]) -> None:
        """Delete queues that nobody names any more, with what waits in them. Raises QueueError."""
        image = self._leader.image
        own = dict.fromkeys(names)
        for queue in {one.queue: None for one in image.consumers.values() if one.queue in own}:
            await self._leader.consumers.delete_all(queue)
        await self._leader.link.admin.delete(*own)
        await self._leader.store.write(partial(dictionary.drop_queues, namespace=image.namespace, names=list(own)))
        image.mirror_due.update(own)
        for key in [key for key in image.queues if key[0] in own]:
            del image.queues[key]
