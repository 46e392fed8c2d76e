"""Whether what runs is what is wanted (I4), by looking at everything: the controller's picture, Redis, all machines."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.chaos.cluster.fences import Hold
from tests.chaos.cluster.hosts import Run
from treadle.queues.tenure import LoopKey
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.cluster.model import Desired, LoopRecord, ReplicaId, State
from treadle_controller.leader import Leader
from treadle_controller.leader.image import WorkflowImage

if TYPE_CHECKING:
    from tests.chaos.cluster.simulation import Cluster


def unsettled(cluster: Cluster) -> str:
    """Return something that is not as it is wanted, or an empty string."""
    leader = cluster.controller.leader if cluster.controller is not None else None
    if leader is None:
        return "the controller does not serve"
    if leader.unsent:
        return f"{next(iter(leader.unsent))} waits for Redis"
    return _agents(cluster, leader) or _commands(cluster, leader) or _loops(cluster, leader)


def _agents(cluster: Cluster, leader: Leader) -> str:
    for seat in cluster.seats:
        known = leader.image.fleet.get(seat.name)
        if known is None:
            return f"agent {seat.name} is not known"
        if (seat.process is not None) is not (known.liveness is Liveness.READY):
            return f"agent {seat.name} is {'there' if seat.process else 'gone'} and counts as {known.liveness.name}"
        if (seat.name in leader.roster.streams) is not (seat.process is not None):
            return f"agent {seat.name} is {'there' if seat.process else 'gone'}, unlike its stream"
        if seat.process is not None and not seat.process.session.machine.reported:
            return f"agent {seat.name} has something to report"
        held = {LoopKey(*assignment.id) for _, assignment in leader.image.held_by(seat.name)}
        known_there = {address.key for address in seat.process.loops._records} if seat.process is not None else held
        # That it may forget a loop which has completed can get lost; it hears so in its next session.
        completed = {key for key in held | known_there if cluster.fences.holds.get(key, Hold()).completed}
        if known_there - completed != held - completed:
            return f"agent {seat.name} knows {sorted(map(str, known_there ^ held))} otherwise than the controller"
    return ""


def _commands(cluster: Cluster, leader: Leader) -> str:
    for name in ("first", "second"):
        if name not in leader.image.workflows:
            return f"there is no workflow {name}"
        wanted = cluster.wanted.get(name)
        if wanted is not None and leader.image.workflows[name].desired is not wanted:
            return f"workflow {name} is not wanted {wanted.name}, as somebody was told"
    return ""


def _loops(cluster: Cluster, leader: Leader) -> str:
    runs: defaultdict[LoopKey, list[Run]] = defaultdict(list)
    for run in cluster.runs():
        runs[run.key].append(run)
    for workflow in leader.image.workflows.values():
        for loop in workflow.loops.values():
            if loop.removed:
                return f"loop {workflow.name}/{loop.name} is removed, and still there"
            for id_ in loop.replicas:
                live = runs.pop(LoopKey(*id_), [])
                problem = _replica(cluster, leader, workflow, loop, id_, live)
                if problem:
                    return f"{id_}: {problem}"
    extra = next(iter(runs.values()), None)
    return f"{extra[0].name} runs {extra[0].key}, which nobody wants" if extra else ""


def _replica(
    cluster: Cluster, leader: Leader, workflow: WorkflowImage, loop: LoopRecord, id_: ReplicaId, live: list[Run]
) -> str:
    state = leader.image.standing(workflow, loop, id_).state
    hold = cluster.fences.holds.get(LoopKey(*id_), Hold())
    if loop.desired is Desired.STOPPED or hold.completed:
        wanted = State.COMPLETED if hold.completed else State.STOPPED
        if live:
            return f"is {wanted.name}, and {live[0].name} runs it"
        return "" if state in (State.STOPPED, State.COMPLETED) else f"shown as {state.name}, not {wanted.name}"
    if len(live) != 1:
        return f"{len(live)} run it (shown as {state.name})"
    return _running(workflow, loop, id_, live[0], hold, state)


def _running(workflow: WorkflowImage, loop: LoopRecord, id_: ReplicaId, run: Run, hold: Hold, state: State) -> str:
    assignment = workflow.assignments.get(id_)
    if assignment is None or not assignment.held or assignment.releasing:
        return "runs, but nobody is to hold it"
    seat = run.child.machine.name.split(".")[0]
    if (assignment.agent, assignment.epoch) != (seat, run.epoch):
        return f"runs on {seat} at {run.epoch}; {assignment.agent} is to run it at {assignment.epoch}"
    paused = loop.desired is Desired.PAUSED
    if (hold.epoch, hold.inc) != (run.epoch, run.inc) and not paused:  # one that is paused finds out when it goes on
        return f"{run.name} runs at {run.epoch}.{run.inc}, Redis has {hold.epoch}.{hold.inc}"
    if run.paused is not paused or run.draining:
        return f"{run.name} is {'paused' if run.paused else 'running'}, draining: {run.draining}"
    wanted = State.PAUSED if paused else State.RUNNING
    if assignment.digest != loop.plan.digest:
        return "runs another revision"
    return "" if state is wanted else f"shown as {state.name}, not {wanted.name}"
