"""Faults: queues are full, purged, quiet, or written to by hand."""

from __future__ import annotations

import pickle

from tests.chaos.queues.flow import WORKFLOW, WRITES
from tests.chaos.queues.play import Fault, Play
from treadle.errors import QueueError
from treadle.queues.tenure import LoopKey


def purge(play: Play) -> None:
    """Drop what waits in a queue, half of the time while who reads it is stopped with messages in its hands."""
    queue, role = play.random.choice((("in", "transform"), ("out", "sink")))
    reader = play.actors[LoopKey(WORKFLOW, role)]
    if play.random.random() < 0.5 and not reader.completed:
        play.let_more(0.05)
        reader.process.pause()
        play.wait_for(lambda: play.stage.field(queue, "tail") > play.stage.field(queue, "next") + 20, 0.5)
    play.bites[f"purged from {queue}"] += play.stage.do(lambda admin: admin.purge(queue))
    reader.process.resume()


def kill_waiting_producer(play: Play) -> None:
    """Kill a loop while it waits for room."""
    _kill_waiting(play, "source", "transform")


def kill_waiting_transform(play: Play) -> None:
    """Kill the transform while it waits for room."""
    _kill_waiting(play, "transform", "sink")


def _kill_waiting(play: Play, role: str, reader: str) -> None:
    """Stop who reads from a loop until the loop waits for room, and kill it then."""
    producer = play.actors[LoopKey(WORKFLOW, role)]
    consumers = [actor.process for actor in play.actors.values() if actor.role == reader]

    def waits() -> bool:
        return bool(play.stage.command("HGET", play.stage.keys.record(WRITES[role]), "room"))

    play.let_more()
    for process in consumers:
        process.pause()
    try:
        if play.wait_for(waits, 2.0) and not producer.completed:
            _must_not_poll(play)
            producer.process.kill()
            epoch = play.stage.next_epoch()
            play.stage.assign({producer.key: epoch})
            play.spawn(producer.key, epoch)
            play.bites[f"producers killed while they waited: {role}"] += 1
    finally:
        for process in consumers:
            process.resume()


def _must_not_poll(play: Play) -> None:
    """A loop that waits for room sleeps: nothing is refused meanwhile."""
    before = play.stage.answers().get("commit FULL", 0)
    play.wait_for(lambda: False, 0.2)
    refused = play.stage.answers().get("commit FULL", 0) - before
    if refused > 1:
        play.wrong.append(f"polling: {refused} commits were refused in 0.2 s while there was no room")


def rest(play: Play) -> None:
    """Stop the source until every reader has gone to sleep and asked for a ring."""
    source = play.actors[LoopKey(WORKFLOW, "source")]
    source.process.pause()

    def asleep() -> bool:
        return all(play.stage.command("HGET", play.stage.keys.record(queue), "bells") for queue in ("in", "out"))

    play.bites["rests"] += play.wait_for(asleep)
    source.process.resume()


ENTRIES: dict[str, tuple[object, ...]] = {
    "foreign": ("temperature", "21.5"),
    "pickled": ("n", "1", "d", pickle.dumps([{"n": 1}])),
    "malformed": ("n", "3", "d", b"\xc1\x93\xff"),
    "giant": ("n", "1", "d", b"\x91\xc6\x00\x30\x00\x00" + bytes(3 * 1024 * 1024)),
    "wrong count": ("n", "1000000000000", "d", b"\x90"),
}


def meddle(kind: str) -> Fault:
    """Return a fault that adds an entry of a kind that treadle did not write, before or behind what comes next."""

    def add(play: Play) -> None:
        queue = play.random.choice(("in", "out"))
        key = play.stage.keys.queue(queue)
        ident = f"{play.stage.field(queue, 'tail') + play.random.randint(1000, 5000)}-1"
        try:
            play.stage.command("XADD", key, ident if play.random.random() < 0.5 else "*", *ENTRIES[kind])
        except QueueError:
            play.stage.command("XADD", key, "*", *ENTRIES[kind])  # the queue has moved past this number meanwhile
        play.entries_by_hand += 1
        play.bites[f"by hand: {kind}"] += 1

    return add


def forge(play: Play) -> None:
    """Add an entry with the very number that comes next, while its producer is stopped."""
    actor = play.actors[LoopKey(WORKFLOW, "source")]
    if actor.completed:
        return
    actor.process.pause()
    tail = play.stage.field("in", "tail")
    try:
        play.stage.command("XADD", play.stage.keys.queue("in"), f"{tail}-1", "n", "1", "d", pickle.dumps([1]))
    except QueueError:
        return  # an entry by hand with a higher number is still there
    finally:
        actor.process.resume()
    play.entries_by_hand += 1
    play.bites["by hand: forged"] += 1
