"""Rules for a loop that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from treadle_controller.diagnosis import telling, words
from treadle_controller.diagnosis.inquiry import Inquiry
from treadle_controller.diagnosis.situation import LoopFacts, QueueFacts, ReplicaFacts
from treadle_controller.diagnosis.verdict import Fact, Verdict

LAG_S: Final = 5.0  # of work at its present pace that wait: it lags


def running(inquiry: Inquiry, loop: LoopFacts) -> Verdict:
    """Return why a loop that runs waits or lags, or that it does neither."""
    replica = telling.telling(loop)
    verdict = next(found for rule in _RULES if (found := rule(inquiry, loop, replica)) is not None)
    verdict = replace(verdict, evidence=(*verdict.evidence, *_absent(inquiry, loop)))
    if replica.why is None or replica.why.code != "agent-disconnected":
        return verdict
    # What is known is old, and that is what is new.
    sentence = f"agent {replica.agent} of {loop.name} is not connected; when it was last heard of, {verdict.sentence}"
    evidence = (Fact(f"agent {replica.agent}", "not connected"), *verdict.evidence)
    return replace(
        verdict, code=replica.why.code, sentence=sentence, evidence=evidence, kind="agent-lost", fix="wfctl agent ls"
    )


def _absent(inquiry: Inquiry, loop: LoopFacts) -> Iterator[Fact]:
    """Yield the programs outside for which messages wait that nobody else may have."""
    for queue in map(inquiry.queue, dict.fromkeys((*loop.reads, *loop.writes))):
        for name, since in queue.away if queue.depth else ():
            mend = f"wfctl queue delete-consumer {queue.name} {name}, if it will not come back"
            yield Fact(f"consumer {name}", f"reads {queue.name}, and is away{words.since(since, inquiry.now)}; {mend}")


def _refused(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    doing = replica.activity
    if doing is None or doing.code not in ("out-of-memory", "commit-refused"):
        return None
    lasts = words.since(doing.since, inquiry.now)
    if doing.code == "out-of-memory":
        memory = f" ({inquiry.situation.memory})" if inquiry.situation.memory else ""
        sentence = f"{loop.name} can't commit{lasts}: the server of the queues is out of memory{memory}."
        fix = "let the queues be worked off, purge what nobody needs (wfctl queue ls), or raise its maxmemory"
    else:
        sentence = f"{loop.name} can't commit{lasts}: the server of the queues refuses ({telling.dot(doing.message)})."
        fix = "look at the log of the server of the queues"
    evidence = (Fact("redis", telling.dot(doing.message)), *telling.placed(loop, replica))
    return Verdict(loop.name, doing.code, sentence, evidence, fix)


def _hanging(_inquiry: Inquiry, loop: LoopFacts, _replica: ReplicaFacts) -> Verdict | None:
    hang = next((one for one in loop.replicas if one.why is not None and one.why.code == "hanging"), None)
    if hang is None:
        return None
    node = f"node {hang.node}" if hang.node else "a node"
    sentence = f"{loop.name} runs, and {node} hangs: {telling.of(hang)}."
    evidence = telling.placed(loop, hang)
    return Verdict(loop.name, "hanging", sentence, evidence, f"wfctl describe loop {loop.name} shows where")


def _blocked(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    doing = replica.activity
    told = doing.queue if doing is not None and doing.code == "queue-full" else ""
    full = [queue for queue in map(inquiry.queue, loop.writes) if queue.full]
    busy = doing is not None and doing.code in ("working", "retrying") and replica.rate > 0
    if not told and (not full or busy):
        return None
    queue = inquiry.queue(told) if told else full[0]
    lasts = words.since(doing.since, inquiry.now) if told and doing is not None else ""
    limit = _fullness(queue)
    culprit, evidence = _behind(inquiry, queue)
    sentence = f"{loop.name} waits{lasts} for room in {queue.name} ({limit}): {culprit}."
    fact = Fact(f"queue {queue.name}", f"{limit}, readers: {words.names(queue.readers) or 'none'}")
    evidence = (fact, *telling.blocked(loop, replica), *evidence)
    return Verdict(loop.name, "queue-full", sentence, evidence, f"wfctl describe queue {queue.name}")


def _behind(inquiry: Inquiry, queue: QueueFacts) -> tuple[str, tuple[Fact, ...]]:
    """Say who reads a queue too slowly, and why."""
    if not queue.readers:
        if queue.away:
            return f"its reader {words.names([name for name, _ in queue.away])}, a program outside, is away", ()
        whom = "only programs outside read it" if queue.external else "nobody reads it"
        return whom, ()
    verdicts = inquiry.readers(queue)
    if not verdicts:
        return f"its reader {words.names(queue.readers)} is behind", ()
    worst = verdicts[0]
    return telling.clause(f"its reader {worst.loop} is behind", worst), worst.evidence


def _retrying(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    doing = replica.activity
    if doing is None or doing.code != "retrying":
        return None
    again = f" in {words.span(max(0.0, doing.again_at - inquiry.now))}" if doing.again_at else ""
    sentence = (
        f"{loop.name} tries node {doing.node} again{again} (attempt {doing.attempt}): {telling.dot(doing.message)}."
    )
    evidence = (*telling.placed(loop, replica), *telling.errors(replica))
    return Verdict(loop.name, "retrying", sentence, evidence, f"wfctl describe loop {loop.name}")


def _failing(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    node = next((node for one in loop.replicas for node in one.nodes if node.failing), None)
    if node is None:
        return None
    sentence = f"{loop.name} runs, and node {node.node} fails: {telling.dot(node.error)}."
    dead = tuple(
        Fact(f"queue {queue.name}", words.count(queue.dead, "dead letter"))
        for queue in map(inquiry.queue, loop.reads)
        if queue.dead
    )
    evidence = (*telling.errors(replica), *dead)
    return Verdict(loop.name, "node-failing", sentence, evidence, f"wfctl describe loop {loop.name}", "failing")


def _lagging(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    rate = sum(one.rate for one in loop.replicas)
    behind = [queue for queue in map(inquiry.queue, loop.reads) if queue.name in inquiry.pressed or _lags(queue, rate)]
    if not behind:
        return None
    queue = max(behind, key=lambda one: one.depth)
    age = f", the oldest for {words.span(queue.oldest_age_s)}" if queue.oldest_age_s else ""
    pace = f"it commits {words.rate(rate)} a second"
    where = f"{words.count(queue.depth, 'message')} wait in {queue.name}{age}"
    busiest, share = telling.busiest(replica.nodes)
    evidence = (
        Fact(f"queue {queue.name}", f"{words.count(queue.depth, 'message')}{age}"),
        *telling.times(replica.nodes),
    )
    if busiest is None:
        sentence = f"{loop.name} lags: {where}, and {pace}."
        return Verdict(loop.name, "lagging", sentence, evidence, f"wfctl describe loop {loop.name}")
    mean = busiest.seconds / max(1, busiest.executions)
    takes = f"node {busiest.node} takes {share:.0%} of its time ({words.span(mean)} each)"
    fix = f"make {busiest.node} quicker, or: wfctl scale {loop.name} --replicas N"
    return Verdict(loop.name, "lagging", f"{loop.name} lags: {where}, {pace}, and {takes}.", evidence, fix)


def _waiting(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict | None:
    doing = replica.activity
    if any(inquiry.queue(name).depth for name in loop.reads):
        return None
    if doing is not None and doing.code == "no-work":
        lasts = words.since(doing.since, inquiry.now)
        sentence = f"{loop.name} runs, and its producer {doing.node} has had no work{lasts}."
        return Verdict(loop.name, "no-work", sentence, telling.history(loop, replica, inquiry.now), kind="idle")
    if not loop.reads or (doing is not None and doing.code == "working"):
        return None
    waits_in = tuple(doing.queue.split(",")) if doing is not None and doing.queue else loop.reads
    lasts = words.since(doing.since, inquiry.now) if doing is not None and doing.code == "waiting-input" else ""
    reason, evidence = _dry(inquiry, [inquiry.queue(name) for name in waits_in])
    sentence = f"{loop.name} runs and waits for messages in {words.names(waits_in)}{lasts}{reason}."
    empty = tuple(Fact(f"queue {name}", f"empty, written by {_writers(inquiry, name)}") for name in waits_in)
    return Verdict(loop.name, "idle", sentence, (*empty, *telling.history(loop, replica, inquiry.now), *evidence))


def _dry(inquiry: Inquiry, queues: list[QueueFacts]) -> tuple[str, tuple[Fact, ...]]:
    """Say why queues stay empty, where that is somebody's doing."""
    writers = list(dict.fromkeys(writer for queue in queues for writer in queue.writers))
    if not writers:
        return (": programs outside write it" if any(q.external for q in queues) else ": nobody writes it"), ()
    verdicts = inquiry.others(writers)
    if not verdicts or not verdicts[0].is_cause:
        return "", ()
    worst = verdicts[0]
    return ": " + telling.clause(f"its writer {worst.loop} does not deliver", worst), worst.evidence


def _writers(inquiry: Inquiry, queue: str) -> str:
    found = inquiry.queue(queue)
    outside = " and programs outside" if found.external else ""
    return (words.names(found.writers) or "no loop") + outside


def _well(inquiry: Inquiry, loop: LoopFacts, replica: ReplicaFacts) -> Verdict:
    rate = sum(one.rate for one in loop.replicas)
    waiting = [queue for queue in map(inquiry.queue, loop.reads) if queue.depth]
    pace = f"{loop.name} runs and commits {words.rate(rate)} iterations a second"
    evidence = (*telling.history(loop, replica, inquiry.now), *telling.times(replica.nodes))
    if waiting:
        depths = words.names([f"{queue.name} ({queue.depth:,})" for queue in waiting])
        return Verdict(loop.name, "working", f"{pace}; messages wait in {depths}.", evidence)
    if replica.activity is not None and replica.activity.code == "working" and rate == 0:
        lasts = words.since(replica.activity.since, inquiry.now)
        works = f"has been at work{lasts}" if lasts else "is at work"
        sentence = f"{loop.name} runs; node {replica.activity.node} {works}."
        return Verdict(loop.name, "working", sentence, evidence)
    if replica.activity is not None and replica.activity.code == "between-turns" and rate == 0:
        sentence = f"{loop.name} runs; its producer {replica.activity.node} waits for its next turn."
        return Verdict(loop.name, "running", sentence, evidence)
    return Verdict(loop.name, "running", f"{pace}.", evidence)


def _fullness(queue: QueueFacts) -> str:
    if queue.limit is not None and queue.depth >= queue.limit:
        return f"{queue.depth:,} of {words.count(queue.limit, 'message')}"
    if queue.size_limit is not None and queue.size >= queue.size_limit:
        return f"{words.size(queue.size)} of {words.size(queue.size_limit)}"
    of = f" of {queue.limit:,}" if queue.limit is not None else ""
    return f"{queue.depth:,}{of} messages, and full again and again"


def _lags(queue: QueueFacts, rate: float) -> bool:
    if not queue.depth:
        return False
    old = queue.oldest_age_s is not None and queue.oldest_age_s >= LAG_S
    return old or queue.full or (rate > 0 and queue.depth / rate >= LAG_S)


_RULES: Final[tuple[Callable[[Inquiry, LoopFacts, ReplicaFacts], Verdict | None], ...]] = (
    _refused,
    _hanging,
    _blocked,
    _retrying,
    _failing,
    _lagging,
    _waiting,
    _well,
)
