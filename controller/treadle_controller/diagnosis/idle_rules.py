"""Rules for a loop that does not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from treadle_controller.cluster import halt
from treadle_controller.cluster.model import Desired, State
from treadle_controller.diagnosis import telling, words
from treadle_controller.diagnosis.inquiry import Inquiry
from treadle_controller.diagnosis.situation import LoopFacts, QueueFacts, ReplicaFacts
from treadle_controller.diagnosis.verdict import Fact, Verdict

DLQ_FULL: Final = "DLQ_FULL"
_PLACING: Final = {
    "no-agent": "start an agent: treadle-agent --config FILE",
    "no-agent-ready": "wfctl agent ls, then: wfctl agent uncordon NAME",
    "node-type-absent": "give an agent these nodes (`nodes` in agent.toml); see: wfctl node-types ls",
    "no-matching-labels": "change placement.labels, or the labels of an agent; see: wfctl agent ls -o wide",
    "no-free-slot": "give an agent more `slots`, start another one, or stop a loop",
}


def idle(inquiry: Inquiry, loop: LoopFacts) -> Verdict | None:
    """Return why a loop does not run; None when it does."""
    replica = telling.worst(loop)
    found = (rule(inquiry, loop, replica) for rule in _RULES)
    return next((verdict for verdict in found if verdict is not None), None)


def _removed(_inquiry: Inquiry, loop: LoopFacts, _: ReplicaFacts) -> Verdict | None:
    if not loop.removed:
        return None
    return Verdict(loop.name, "removed", f"{loop.name} is no longer in the document and is being drained.")


def _without_redis(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    if not inquiry.situation.redis or loop.desired is not Desired.RUNNING or replica.state is State.COMPLETED:
        return None
    goes_on = replica.state is State.RUNNING and replica.rate > 0
    if replica.state in (State.ERROR, State.LOST) or goes_on:
        return None
    sentence = f"{loop.name} waits for the queues: {telling.dot(inquiry.situation.redis)}."
    fix = "start Redis again, or see: wfctl events --kind controller"
    return Verdict(loop.name, "redis-unreachable", sentence, (Fact("redis", inquiry.situation.redis),), fix)


def _at_rest(_inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    if replica.state is State.COMPLETED:
        done = f"{loop.name} has completed."
        fix = f"wfctl restart {loop.name}"
        evidence = (Fact(f"loop {loop.name}", words.count(telling.committed(loop), "iteration") + " committed"),)
        return Verdict(loop.name, "completed", done, evidence, fix)
    if loop.desired is Desired.RUNNING or replica.state in (State.ERROR, State.LOST):
        return None
    if loop.desired is Desired.STOPPED and loop.halted:
        return _halted(loop)
    code = "stopped" if loop.desired is Desired.STOPPED else "paused"
    by = f" by {loop.order.actor} at {words.clock(loop.order.time)}" if loop.order is not None else " by somebody"
    verb = "start" if code == "stopped" else "resume"
    reached = replica.state.name.lower() == code or replica.state is State.PENDING
    yet = "" if reached else f", and is {replica.state.name.lower()} still"
    sentence = f"{loop.name} was {code}{by}{yet}."
    evidence = (Fact(f"loop {loop.name}", f"{code}{by}"),)
    return Verdict(loop.name, code, sentence, evidence, f"wfctl {verb} {loop.name}")


def _halted(loop: LoopFacts) -> Verdict:
    workflow = loop.name.partition("/")[0]
    sentence = f"{loop.name} is stopped: {telling.dot(loop.halted)}."
    evidence = (Fact(f"workflow {workflow}", telling.dot(loop.halted)),)
    fix = f"mend the cause, then: wfctl start {workflow}"
    return Verdict(loop.name, halt.CODE, sentence, evidence, fix, "stopped")


def _failed(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    if replica.state not in (State.ERROR, State.BACKOFF, State.LOST):
        return None
    code = replica.why.code if replica.why is not None else replica.state.name.lower()
    evidence = (*telling.placed(loop, replica), *telling.errors(replica))
    rule = {State.ERROR: _error, State.BACKOFF: _backoff, State.LOST: _lost}[replica.state]
    return rule(inquiry, loop, replica, code, evidence)


def _error(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts, code: str, evidence: tuple[Fact, ...]) -> Verdict:
    if code == DLQ_FULL:
        return _dlq_full(inquiry, loop, replica, evidence)
    sentence = f"{loop.name} failed for good: {telling.because(replica)}."
    fix = f"mend the cause, then: wfctl restart {loop.name}"
    return Verdict(loop.name, code, sentence, evidence, fix, "error")


def _dlq_full(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts, evidence: tuple[Fact, ...]) -> Verdict:
    fullest = max((inquiry.queue(name) for name in loop.reads), key=lambda queue: queue.dead, default=QueueFacts(""))
    held = f"the dead letters of {fullest.name} are full ({fullest.dead:,})"
    word = "stopped" if replica.state is State.ERROR else "stops again and again"
    sentence = f"{loop.name} {word} because {held}: replay or drop them."
    evidence = (Fact(f"queue {fullest.name}", words.count(fullest.dead, "dead letter")), *evidence)
    fix = f"wfctl dlq ls {fullest.name}, then wfctl dlq replay|drop, then: wfctl restart {loop.name}"
    return Verdict(loop.name, DLQ_FULL, sentence, evidence, fix, "dlq-full")


def _backoff(
    inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts, code: str, evidence: tuple[Fact, ...]
) -> Verdict:
    if code == DLQ_FULL:
        return _dlq_full(inquiry, loop, replica, evidence)
    if code == "wrong-redis":
        sentence = (
            f"{loop.name} waits because agent {replica.agent} is connected to another Redis: {telling.of(replica)}."
        )
        fix = f"set the same `redis` for agent {replica.agent} and the controller"
        return Verdict(loop.name, code, sentence, evidence, fix, "redis-unreachable")
    if code == "redis-unreachable":
        sentence = f"{loop.name} waits because agent {replica.agent} can't reach the queues: {telling.of(replica)}."
        return Verdict(loop.name, code, sentence, evidence, "wfctl agent ls", "redis-unreachable")
    again = f" in {words.span(max(0.0, replica.retry_at - inquiry.now))}" if replica.retry_at else ""
    sentence = f"{loop.name} failed and is started again{again}: {telling.because(replica)}."
    evidence = (*evidence, Fact(f"loop {loop.name}", words.count(replica.restarts, "restart") + " so far"))
    return Verdict(loop.name, code, sentence, evidence, f"wfctl describe loop {loop.name}", "backoff")


def _lost(_inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts, code: str, evidence: tuple[Fact, ...]) -> Verdict:
    where = f"it was on agent {replica.agent}, which is lost" if replica.agent else "its agent is lost"
    why = where if code == "agent-lost" else telling.of(replica)
    sentence = f"{loop.name} is lost: {why}."
    return Verdict(loop.name, code, sentence, evidence, "wfctl agent ls", "agent-lost")


def _unplaced(_inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    if replica.state is not State.PENDING:
        return None
    code = replica.why.code if replica.why is not None else "placing"
    which = f" (replica {replica.index})" if len(loop.replicas) > 1 else ""
    sentence = f"{loop.name}{which} is not placed: {telling.of(replica)}."
    evidence = tuple(Fact(f"agent {agent}", obstacle) for agent, obstacle in loop.obstacles)
    return Verdict(loop.name, code, sentence, evidence, _PLACING.get(code, ""), "pending")


def _on_its_way(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    said = {
        State.ASSIGNED: "was sent to its agent, which has not answered yet",
        State.STARTING: "is starting",
        State.DRAINING: "is being drained",
        State.STOPPED: "is stopped, and is about to be started",
        State.PAUSED: "is paused, and is about to go on",
    }
    if replica.state not in said:
        return None
    code = replica.why.code if replica.why is not None else replica.state.name.lower()
    because = f": {telling.of(replica)}" if replica.why is not None else ""
    renewed = f" ({inquiry.situation.renewed})" if inquiry.situation.renewed else ""
    sentence = f"{loop.name} {said[replica.state]}{because}{renewed}."
    return Verdict(loop.name, code, sentence, telling.placed(loop, replica), kind=replica.state.name.lower())


_RULES: Final[tuple[Callable[[Inquiry, LoopFacts, ReplicaFacts], Verdict | None], ...]] = (
    _removed,
    _without_redis,
    _at_rest,
    _failed,
    _unplaced,
    _on_its_way,
)
