"""The metrics of the whole cluster: loops, queues and agents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from treadle.queues.stats import QueueStats
from treadle.telemetry.counts import Counts
from treadle.telemetry.loops import LoopFamilies
from treadle.telemetry.metrics import Family
from treadle.v1 import loop_pb2
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.cluster.model import ReplicaId
from treadle_controller.leader import Leader
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.leader.settle import totals


async def cluster_families(
    image: Image, queues: Mapping[str, QueueStats], *, redis_up: bool, redis_renewals: int = 0
) -> list[Family]:
    """Return all metrics."""
    up = Family("treadle.redis.up", "gauge", "1", "Whether the controller reaches the queues (1) or not (0).")
    up.add({}, float(redis_up))
    renewals = Family("treadle.redis.renewals", "counter", "{renewal}", "Times that queues were lost or went back.")
    renewals.add({}, redis_renewals)
    return [*await _loops(image), *_queues(image.namespace, queues), *_agents(image), up, renewals]


async def _loops(image: Image) -> list[Family]:
    """Return those of loops. Of ten thousand it takes a second: whatever else is due comes in between workflows."""
    states = Family("treadle.loop.state", "gauge", "1", "1 for the state that a loop is in.")
    loops = LoopFamilies()
    for workflow in list(image.workflows.values()):
        _add(image, workflow, loops, states)
        await asyncio.sleep(0)
    return [*loops.all, states]


def _add(image: Image, workflow: WorkflowImage, loops: LoopFamilies, states: Family) -> None:
    for loop in workflow.loops.values():
        labels = {"namespace": image.namespace, "workflow": workflow.name, "loop": loop.name}
        states.add({**labels, "state": image.loop_standing(workflow, loop).state.name}, 1.0)
        if loop.past_committed or loop.past_errors or loop.name in workflow.past:
            past = replace(workflow.past.get(loop.name, Counts()), errors=loop.past_errors)
            loops.add_past(labels, loop.past_committed, past)
    for id_, one in workflow.assignments.items():
        if id_.loop in workflow.loops:
            committed, errors = totals(workflow, one)
            loops.add(_status(image.namespace, workflow, id_, committed), _counted(workflow, id_, errors))


def _status(namespace: str, workflow: WorkflowImage, id_: ReplicaId, committed: int) -> loop_pb2.LoopStatus:
    """Return what is known of a replica; of one that does not run now, what stays true."""
    seen = workflow.observed.get(id_)
    status = loop_pb2.LoopStatus()
    if seen is not None and isinstance(seen.report, loop_pb2.LoopStatus):
        status.CopyFrom(seen.report)
        if not workflow.assignments[id_].held:
            status.in_flight = 0
            status.state = loop_pb2.LOOP_STATE_STOPPED
    status.loop.namespace, status.loop.workflow = namespace, id_.workflow
    status.loop.loop, status.loop.replica = id_.loop, id_.replica
    status.committed = committed
    return status


def _counted(workflow: WorkflowImage, id_: ReplicaId, errors: int) -> Counts:
    tally = workflow.tallies.get(id_)
    return replace(Counts() if tally is None else tally.total(), errors=errors)


async def families_of(leader: Leader) -> list[Family]:
    """Return the metrics of the cluster that a leader leads, with figures of its queues as they are now."""
    names = sorted({record.queue.name for record in leader.image.queues.values() if record.mentioned})
    figures = await leader.link.figures(names)
    return await cluster_families(leader.image, figures, redis_up=leader.link.up, redis_renewals=leader.link.renewals)


def _queues(namespace: str, queues: Mapping[str, QueueStats]) -> list[Family]:
    message = "{message}"
    age = Family(
        "treadle.queue.oldest_message_age", "gauge", "s", "How long the oldest message has been waiting, at least."
    )
    families = {
        "depth": Family("treadle.queue.depth", "gauge", message, "Messages in the queue, claimed ones included."),
        "bytes": Family("treadle.queue.bytes", "gauge", "By", "Bytes of these messages."),
        "claimed": Family("treadle.queue.claimed", "gauge", message, "Messages claimed and not committed."),
        "dead": Family("treadle.queue.dead_letters", "gauge", message, "Dead letters."),
        "pushed": Family("treadle.queue.pushed", "counter", message, "Messages pushed."),
        "committed": Family("treadle.queue.committed", "counter", message, "Messages committed."),
    }
    for name, stats in queues.items():
        labels = {"namespace": namespace, "queue": name}
        if stats.oldest_age_s is not None or stats.depth == 0:
            age.add(labels, stats.oldest_age_s or 0.0)
        for field, family in families.items():
            family.add(labels, getattr(stats, field))
    return [age, *families.values()]


def _agents(image: Image) -> list[Family]:
    ready = Family("treadle.agent.ready", "gauge", "1", "Whether the agent is connected (1) or not (0).")
    closed = Family(
        "treadle.agent.closed", "gauge", "1", "Whether it takes no new loops: cordoned, draining, stopping."
    )
    slots = Family("treadle.agent.slots", "gauge", "{slot}", "Slots that the agent has.")
    used = Family("treadle.agent.slots_used", "gauge", "{slot}", "Slots that are taken.")
    for agent in image.fleet.agents.values():
        ready.add({"agent": agent.name}, float(agent.liveness is Liveness.READY))
        closed.add({"agent": agent.name}, float(agent.cordoned or agent.draining))
        for pool, count in agent.slots.items():
            slots.add({"agent": agent.name, "pool": pool}, count)
            used.add({"agent": agent.name, "pool": pool}, agent.used.get(pool, 0))
    return [ready, closed, slots, used]
