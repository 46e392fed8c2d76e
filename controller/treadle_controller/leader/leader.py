"""The leader: rounds of settling what changed, writing it, telling Redis, and sending it to agents."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from itertools import groupby
from typing import Any, Final, Protocol

from msgspec.structs import replace
from sqlalchemy import Connection

from treadle.endings import end
from treadle.errors import QueueError
from treadle_controller.cluster.actions import Place
from treadle_controller.cluster.model import Assignment, Desired, Observed, ReplicaId, State
from treadle_controller.cluster.sessions import Sessions, SessionSettings
from treadle_controller.errors import Deposed, NotNow
from treadle_controller.leader.absence import Absence
from treadle_controller.leader.admission import Admission
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.consumers import Consumers
from treadle_controller.leader.deletion import Deletion
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.leader.journal import Journal
from treadle_controller.leader.link import QueueLink
from treadle_controller.leader.logs import LogHub
from treadle_controller.leader.mirror import mirror
from treadle_controller.leader.portions import Portions
from treadle_controller.leader.rebalancing import Rebalancing
from treadle_controller.leader.rolling import Rolling
from treadle_controller.leader.roster import Roster
from treadle_controller.leader.settle import Settler
from treadle_controller.leader.slots import Slots
from treadle_controller.leader.watch import Watchers
from treadle_controller.leader.write_ahead import WriteAhead
from treadle_controller.store import Store, assignments, workflows

_log = logging.getLogger(__name__)
_TICK_S: Final = 0.1
_PROBE_S: Final = 0.05
_TAIL_DEADLINE_S: Final = 60.0  # a tail that can't work its queue off is let go then; the messages stay
_RETRY_WRITE_S: Final = 1.0
_RECORD_S: Final = 1.0
_SAVE_S: Final = 2.0  # events of loops: whoever reads the store has them written first, and thousands go at a time


class AssignmentTracer(Protocol):
    """Traces assignments, from their sending until their loop runs."""

    def assigned(self, namespace: str, one: Assignment) -> str:
        """Begin; returns the `traceparent` for the agent, "" for none."""
        ...

    def observed(self, id_: ReplicaId, seen: Observed) -> None:
        """Take in what an agent says of a loop."""


class Leader:
    """Decides who runs what in one namespace.

    Change the image, call `touch` with the workflow's name, and the next round does the rest. `start` first, then
    `run` for ever (it ends only by cancellation or with a failure that must end the process).
    """

    def __init__(
        self,
        store: Store,
        image: Image,
        link: QueueLink,
        *,
        name: str,
        last_event: int,
        settings: SessionSettings | None = None,
        consumer_expire_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.image = image
        self.link = link
        self.name = name
        self.clock = clock
        self.tracer: AssignmentTracer | None = None
        self.changes = Changes()  # collected for the next round
        self.unsent: dict[ReplicaId, Place] = {}  # placements that Redis has not admitted
        self.watchers = Watchers()
        self.journal = Journal(image.namespace, last_event)
        self._wake = asyncio.Event()
        self._draining = asyncio.Event()  # some tail is watched
        self._saving = asyncio.Lock()
        self._touched: dict[str, dict[str, None] | None] = {}  # loops by workflow; None: all of it
        self._calm = asyncio.Event()  # no round is under way
        self._calm.set()
        self._settler = Settler(image, self.journal, self.unsent, clock)
        self.portions = Portions(image)
        self._admission = Admission(image, link, self.unsent, self.persist)
        self.slots = Slots(image, link, self.journal, self.unsent, self.persist)
        self._absence = Absence(self, consumer_expire_s)
        self.consumers = Consumers(self, self._absence)
        self.deletion = Deletion(self)
        sessions = Sessions(settings or SessionSettings(), started=clock(), make_id=lambda: uuid.uuid4().hex)
        self.roster = Roster(self, sessions)
        self.logs = LogHub(image, self.roster.streams)
        self.apply_lock = asyncio.Lock()  # one document at a time, whoever applies it
        self.rolling = Rolling(self)

    async def start(self) -> None:
        """Meet Redis and look at everything once. Raises UnfitRedis."""
        self.link.on_up, self.link.on_down = self._redis_up, self._redis_down
        self.link.on_notice = lambda code, message: self.journal.add("controller", self.name, code, message)
        for workflow in self.image.workflows.values():
            self.touch(workflow.name)
            for assignment in workflow.assignments.values():
                loop = workflow.loops.get(assignment.id.loop)
                if assignment.held and not assignment.releasing and loop is not None:
                    self.unsent[assignment.id] = Place(assignment.id, assignment.agent, loop, heard=True)
            workflow.was_completed = self.image.is_completed(workflow)
            self.rolling.watch(workflow)
        await self.link.start()  # which takes its time when Redis does not answer
        self.roster.sessions.begin(self.clock())

    async def run(self) -> None:
        """Run rounds, timers and the beat until one of them fails or all are cancelled."""
        async with asyncio.TaskGroup() as group:
            duties = [group.create_task(duty, name=f"leader {name}") for name, duty in self.duties().items()]
            try:
                await asyncio.Event().wait()
            finally:  # a group cancels its tasks once, which may get lost in one of them
                while not all(duty.done() for duty in duties):
                    with suppress(asyncio.CancelledError):  # whoever ends this does so again and again, too
                        await end(*duties)

    def duties(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs at the same time, for ever, each under its name."""
        return {
            "rounds": self._run_rounds(),
            "sessions": self._run_ticks(),
            "tails": self._run_probes(),
            "rollouts": self.rolling.run(),
            "rebalancing": Rebalancing(self).run(),
            "consumers": self._absence.run(),
            "events": self._run_saves(),
            "beat": self.link.run(),
            "beat's record": self._run_records(),
        }

    def touch(self, workflow: str, loop: str = "") -> None:
        """Look at a workflow in the next round, or only at one of its loops and what hangs on it."""
        loops = self._touched.setdefault(workflow, {}) if loop else None
        if loops is not None:
            loops[loop] = None
        elif not loop:
            self._touched[workflow] = None
        self.wake_up()

    async def persist(self, changes: Changes) -> None:
        """Write changes; on failure say so and try again until it works: nothing may leave before it is on disk."""
        while True:
            try:
                await self.store.write(lambda connection: changes.write(connection, self.image.namespace))
                return
            except Deposed:
                raise
            except Exception:  # noqa: BLE001 - drivers raise their own; without its store a leader can only wait
                _log.exception("the store can't be written; trying again")
                await asyncio.sleep(_RETRY_WRITE_S)

    # Rounds.

    async def _run_rounds(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.run_once()

    async def run_once(self) -> None:
        """One round: settle, write, tell Redis, send."""
        self._calm.clear()
        try:
            await self._round()
        finally:
            self._calm.set()

    async def _round(self) -> None:
        changes, self.changes = self.changes, Changes()
        touched, self._touched = self._touched, {}
        found = [workflow for name in touched if (workflow := self.image.workflows.get(name)) is not None]
        for workflow in found:
            self._settler.settle(workflow, changes, touched[workflow.name])
            if workflow.probes:
                self._draining.set()
        later = self.portions.cut(changes)
        if changes.to_write:
            await self.persist(changes)
        for workflow in found:
            workflow.unsaved.difference_update(changes.assignments)
            self._note_completion(workflow)
        self.roster.handed_over(changes.let_go)
        parts = WriteAhead(later, self._write_part)
        try:
            admitted = await self._tell_redis(changes, found, parts)
            self.consumers.round_done()
            self._send(changes, admitted)
            async for part in parts.written():
                await self._place(part)
        finally:
            parts.end()
        for workflow in found:
            self.watchers.state_changed(workflow.name)
        await self.deletion.finish(workflow for workflow in found if workflow.record.deleting)

    async def _tell_redis(self, changes: Changes, touched: list[WorkflowImage], parts: WriteAhead) -> list[ReplicaId]:
        if not self.link.up:
            return []
        try:
            await self._admission.limit(touched)
            self.consumers.look(self.image.mirror_due)
            await mirror(self.image, self.link)
            await self._admission.leave(loop for loop in changes.dropped)
            await self.slots.settle(touched)
            await self.slots.retire(touched)
            parts.begin()  # not before: the slots may have given out new epochs
            return await self._admission.admit([id_ for id_ in self.unsent if self._is_written(id_)])
        except QueueError as exc:
            self.link.fail(exc.message)
            return []

    async def _write_part(self, portion: list[ReplicaId]) -> None:
        await self.persist(self.portions.changes(portion))
        self.portions.written(portion)

    async def _place(self, portion: list[ReplicaId]) -> None:
        """Tell Redis a part of what was placed, which is on disk, and send it."""
        if not self.link.up:
            return  # admitted with all that waits when Redis is back
        try:
            self._send_ready(await self._admission.admit([id_ for id_ in portion if self._is_written(id_)]))
        except QueueError as exc:
            self.link.fail(exc.message)

    def _is_written(self, id_: ReplicaId) -> bool:
        """Whether an assignment is on disk as it is; what changed during this round gets there with the next."""
        return id_ not in self.portions and id_ not in self.changes.assignments

    def _send(self, changes: Changes, admitted: Iterable[ReplicaId]) -> None:
        for assignment in changes.let_go:
            self.roster.send_release(assignment)
        self._send_ready(dict.fromkeys((*changes.updated, *admitted)))
        if changes.let_go or changes.placed:
            self.logs.subscribe()

    def _send_ready(self, ids: Iterable[ReplicaId]) -> None:
        ready = (id_ for id_ in ids if id_ not in self.unsent)
        for name, same in groupby(ready, lambda id_: id_.workflow):
            workflow = self.image.workflows.get(name)
            if workflow is not None:
                self.roster.send_assignments(workflow, same)

    def _note_completion(self, workflow: WorkflowImage) -> None:
        completed = self.image.is_completed(workflow)
        if completed and not workflow.was_completed:
            self.journal.add(
                "workflow", workflow.name, "workflow-completed", "all its loops have completed", workflow=workflow.name
            )
        workflow.was_completed = completed

    # Timers.

    async def _run_saves(self) -> None:
        """Write events a moment later, many at a time: they tell what was done, and nothing rests on them."""
        while True:
            await self.journal.wait_unsaved(_SAVE_S)
            with suppress(TimeoutError):  # what is placed now goes first
                async with asyncio.timeout(_SAVE_S):
                    await self._calm.wait()
            await self.save_events()

    async def save_events(self) -> None:
        """Write the events so far; when it returns they can be read from the store."""
        async with self._saving:
            events = self.journal.take_unsaved()
            if events:
                await self.persist(Changes(events=events))

    async def _run_ticks(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.roster.tick()

    async def _run_records(self) -> None:
        """Keep the last beat, so that a Redis that goes back while no controller runs is found out."""
        while True:
            await asyncio.sleep(_RECORD_S)
            if self.link.up:
                await self.persist(Changes(beat=self.link.beat))

    async def _run_probes(self) -> None:
        while True:
            await self._draining.wait()
            await asyncio.sleep(_PROBE_S)
            probing = [workflow for workflow in self.image.workflows.values() if workflow.probes]
            if not probing:
                self._draining.clear()
            for workflow in probing:
                await self._probe(workflow)

    async def _probe(self, workflow: WorkflowImage) -> None:
        """Look which tails have worked their queues off."""
        names = [queue for probing in workflow.probes.values() for queue in probing.queues]
        self.link.forget_figures()
        figures = await self.link.figures(names)
        for loop, probing in list(workflow.probes.items()):
            empty = all(queue in figures and figures[queue].depth == 0 for queue in probing.queues)
            late = self.clock() - probing.since > _TAIL_DEADLINE_S or self._has_failed(workflow, loop)
            if not empty and not late:
                continue
            if not empty:
                message = "let go with messages in its queue, which stay there"
                name = f"{workflow.name}/{loop}"
                self.journal.add("loop", name, "tail-not-drained", message, workflow=workflow.name)
            workflow.drained.add(loop)
            self.touch(workflow.name)

    def _has_failed(self, workflow: WorkflowImage, loop: str) -> bool:
        seen = [workflow.observed.get(id_) for id_ in workflow.loops[loop].replicas] if loop in workflow.loops else []
        return any(one is not None and one.state is State.ERROR for one in seen)

    # Redis.

    def _redis_up(self, renewed: str) -> None:
        self.journal.add("controller", self.name, "redis-connected", "the queues can be reached")
        self._store_redis(self.link.redis_id, self.link.beat)
        if renewed:
            self._begin_anew(renewed)
        self.roster.end_sessions_of_other_redis(self.link.redis_id)
        self.image.mirror_whole = True
        self.slots.forget()
        for workflow in self.image.workflows.values():
            self.touch(workflow.name)

    def lost_writes(self, loop: str) -> None:
        """Take the word of a loop that Redis knows less of it than it had acknowledged: then of others too."""
        self.link.renewals += 1
        self._begin_anew(f"Redis lost writes that it had acknowledged: {loop} found less than it had committed")
        self.slots.forget()
        for workflow in self.image.workflows.values():
            self.touch(workflow.name)

    def _begin_anew(self, why: str) -> None:
        self.journal.add("controller", self.name, "redis-rolled-back", why)
        self._renew_everything()
        self.consumers.end_all(NotNow(why, reason="consumer-reset"))

    def _store_redis(self, redis_id: str, beat: int) -> None:
        def write(connection: Connection) -> None:
            workflows.set_redis_id(connection, self.image.namespace, redis_id)
            assignments.put_counter(connection, "beat", beat)

        task = asyncio.ensure_future(self.store.write(write))
        task.add_done_callback(_log_failure)

    def _redis_down(self, problem: str) -> None:
        self.journal.add("controller", self.name, "redis-unreachable", problem)

    def _renew_everything(self) -> None:
        """Give every loop a new epoch, and enter all writers again: Redis no longer knows what it knew.

        Loops that had completed run again: if Redis still knows that they have, they complete at once.
        """
        for workflow in self.image.workflows.values():
            workflow.limits_due = True
            loops = [replace(loop, entered=False) for loop in workflow.loops.values() if not loop.removed]
            workflow.put_loops(loops)
            self.changes.loops |= {(workflow.name, loop.name): loop for loop in loops}
            for id_, old in list(workflow.assignments.items()):
                loop = workflow.loops.get(id_.loop)
                if loop is None or old.releasing or (loop.desired is Desired.STOPPED and old.held):
                    continue
                new = replace(old, epoch=self.image.next_epoch(), sequence=old.sequence + 1, completed=False)
                self.image.put_assignment(workflow, new)
                self.changes.assignments[id_] = new
                if new.held:
                    self.unsent[id_] = Place(id_, new.agent, loop, heard=True)
        self.changes.epoch = self.image.epoch

    def wake_up(self) -> None:
        """Have a round soon: something is to be written or settled."""
        self._wake.set()


def _log_failure(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("the id of the Redis namespace and its beat could not be stored", exc_info=task.exception())
