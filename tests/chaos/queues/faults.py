"""The faults. Each takes the play, does its harm, and counts what it did under a name: `play.bites`."""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.queues.cast import Actor
from tests.chaos.queues.flow import READS, WORKFLOW, WRITES
from tests.chaos.queues.play import Fault, Play
from treadle.errors import QueueError
from treadle.queues.codec import encode_item
from treadle.queues.tenure import LoopKey

GHOST = encode_item({"n": -1, "v": 0, "by": "ghost", "m": 0, "tb": "ghost", "m2": 0})
PATIENCE_S = 5.0


def wait_for(play: Play, true: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    """Look after the play until something is true; False when it never was."""
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            return False
        play.look()
    return True


def _victim(play: Play, role: str | None = None) -> Actor | None:
    """Return a loop whose process has committed something, None when there is none."""
    candidates = [a for a in play.actors.values() if not a.completed and role in (None, a.role)]
    if not candidates:
        return None
    key = play.random.choice(candidates).key

    def has_committed() -> bool:
        actor = play.actors[key]
        return actor.completed or play.stage.tenure(key)[2] > actor.born_at

    wait_for(play, has_committed, 1.0)
    actor = play.actors[key]
    return None if actor.completed or actor.process.report() is not None else actor


# Takeovers


def takeover(play: Play, role: str | None = None) -> None:
    """Kill or pause a loop's process and have another one take over, by a new epoch or as another incarnation."""
    actor = _victim(play, role)
    if actor is None:
        return
    same_epoch = play.random.random() < 0.4
    way = play.random.choice(("kill", "pause", "pause", "hasty"))
    if way == "kill":
        actor.process.kill()
    else:
        actor.process.pause()
        if play.stage.tenure(actor.key)[3]:
            actor.process.resume()  # it has just completed: there is nothing to take over
            return
        play.leave_behind(actor, paused=way == "pause")
    epoch = actor.epoch
    if not same_epoch:
        epoch = play.stage.next_epoch()
        play.stage.assign({actor.key: epoch})
        _haunt(play, actor.key, actor.epoch)
        if way == "hasty":
            actor.process.resume()  # it goes on before its successor has begun
    heir = play.spawn(actor.key, epoch)
    if same_epoch:
        _haunt_incarnation(play, heir)
        if way == "hasty":
            actor.process.resume()
    play.bites[f"takeovers: {way}, {'same' if same_epoch else 'new'} epoch"] += 1


def of(role: str) -> Fault:
    """Return takeovers of one role only."""
    return lambda play: takeover(play, role)


def _ghost(play: Play, key: LoopKey, fence: tuple[int, int, int, bytes]) -> None:
    answer = play.stage.ghost(key, fence, WRITES[key.loop], GHOST)
    play.bites[f"ghosts: commit {answer}"] += 1
    if answer not in {"FENCED", "CONFLICT", "GAP"}:
        play.wrong.append(f"ghost: a commit as {fence[:3]} of {key} was answered {answer}")


def _haunt(play: Play, key: LoopKey, old_epoch: int) -> None:
    """Send what the old owner may have under way: nobody has opened the loop since, so it fits but for its fence."""
    epoch, inc, seq, _ = play.stage.tenure(key)
    _ghost(play, key, (old_epoch, inc, seq + 1, b"ghost"))
    _ghost(play, key, (epoch, inc, seq, b"ghost"))  # a number that is taken, with other content
    _ghost(play, key, (epoch, inc, seq + 2, b"ghost"))  # as if the server had lost a commit
    queue = READS[key.loop]
    if queue is not None:
        answer = play.stage.ghost_claim(key, (old_epoch, inc), queue)
        play.bites[f"ghosts: claim {answer}"] += 1
        if answer != "FENCED":
            play.wrong.append(f"ghost: a claim as {old_epoch}.{inc} of {key} was answered {answer}")


def _haunt_incarnation(play: Play, heir: Actor) -> None:
    """Send what the incarnation before had under way, while the new one is stopped."""
    _, before, _, _ = play.stage.tenure(heir.key)
    wait_for(play, lambda: play.stage.tenure(heir.key)[1] > before, 0.5)
    heir.process.pause()
    epoch, inc, seq, _ = play.stage.tenure(heir.key)
    _ghost(play, heir.key, (epoch, inc - 1, seq + 1, b"ghost"))
    heir.process.resume()


def scale_to(slots: int) -> Fault:
    """Return a fault that gives the transform another number of replicas, under load."""

    def scale(play: Play) -> None:
        old = [key for key in play.actors if key.loop == "transform"]
        new = [LoopKey(WORKFLOW, "transform", replica) for replica in range(slots)]
        if any(play.actors[key].completed for key in old):
            return
        gone = [key for key in old if key not in new]
        play.bites["scaled away with claims"] += _stop_with_claims(play, gone)
        play.enter(new)
        epochs = {key: play.stage.next_epoch() for key in (*new, *gone)}
        play.stage.scale(epochs, "in", new)
        for key in old:
            play.leave_behind(play.actors[key])
            play.actors[key].process.resume()
        for key in gone:
            play.retired.add(key)
            del play.actors[key]
        for key in new:
            play.retired.discard(key)
            play.spawn(key, epochs[key])
        play.enter([], drop=gone)
        play.bites[f"scaled to {slots}"] += 1

    return scale


def _stop_with_claims(play: Play, slots: list[LoopKey]) -> bool:
    """Stop a slot between its claim and its commit, if it can be caught there."""
    claims = play.stage.keys.claims("in")

    def caught() -> bool:
        for key in slots:
            if play.stage.command("HGET", claims, str(key)):
                play.actors[key].process.pause()
                if play.stage.command("HGET", claims, str(key)):
                    return True
                play.actors[key].process.resume()
        return False

    return bool(slots) and wait_for(play, caught, 0.5)


# Lost answers


def cut(play: Play) -> None:
    """Lose the answers of some calls that the server does."""
    assert play.proxy is not None
    patterns = (b"treadle_commit", b"treadle_commit", b"treadle_acknowledge", b"treadle_claim", b"treadle_", b"XREAD")
    play.bites["answers cut"] = play.proxy.cuts
    play.proxy.cut(play.random.choice(patterns), times=play.random.randint(1, 3), every=play.random.randint(1, 4))


def cut_commits(play: Play) -> None:
    """Lose the answers of commits that push."""
    assert play.proxy is not None
    play.bites["answers cut"] = play.proxy.cuts
    play.proxy.cut(b"treadle_commit", times=3, every=2)


# The server


def restart(play: Play) -> None:
    """Kill the server and start it again: every loop has to commit again within two seconds, without help."""
    play.server.kill()
    for _ in range(play.random.randint(1, 20)):
        play.look()
    play.server.start()
    began = time.monotonic()
    before = {key: play.stage.tenure(key)[2] for key, actor in play.actors.items() if not actor.completed}

    def all_go_on() -> bool:
        return all(play.actors[key].completed or play.stage.tenure(key)[2] > seq for key, seq in before.items())

    if not wait_for(play, all_go_on):
        play.wrong.append("slow: loops did not go on after the server was back")
    took_ms = int((time.monotonic() - began) * 1000)
    play.bites["server restarts"] += 1
    play.bites["slowest recovery, ms"] = max(play.bites["slowest recovery, ms"], took_ms)
    if took_ms > 2000:
        play.wrong.append(f"slow: loops went on only {took_ms} ms after the server was back")


def flush_functions(play: Play) -> None:
    """Take the functions away; loops wait, and go on when they are back."""
    before = play.stage.errors("ERR")
    play.stage.command("FUNCTION", "FLUSH")
    deadline = time.monotonic() + PATIENCE_S
    while play.stage.errors("ERR") <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    play.bites["calls without functions"] += play.stage.errors("ERR") - before
    play.stage.load_functions()


def starve(play: Play) -> None:
    """Leave the server no memory: producers wait, the sink drains what is there, and all goes on afterwards."""
    before = play.stage.errors("OOM")
    play.stage.command("CONFIG", "SET", "maxmemory", "1mb")
    if not wait_for(play, lambda: play.stage.errors("OOM") > before + 2):
        play.wrong.append("vacuous: nobody ran out of memory")
    if not play.script.ledger:
        sink = play.actors[LoopKey(WORKFLOW, "sink")]
        sink.process.kill()
        inc = play.stage.tenure(sink.key)[1]
        play.spawn(sink.key, sink.epoch)
        if not wait_for(play, lambda: play.stage.tenure(sink.key)[1] > inc):
            play.wrong.append("stalled: a consumer could not be opened while memory was short")
        if not wait_for(play, lambda: play.stage.field("out", "next") == play.stage.field("out", "tail")):
            play.wrong.append("stalled: the sink did not drain its queue while memory was short")
        play.bites["drained without memory"] += 1
    play.bites["calls without memory"] += play.stage.errors("OOM") - before
    play.stage.command("CONFIG", "SET", "maxmemory", "0")


def purge(play: Play) -> None:
    """Drop what waits in a queue."""
    queue = play.random.choice(("in", "out"))
    play.bites[f"purged from {queue}"] += play.stage.do(lambda admin: admin.purge(queue))


def cut_aof(play: Play) -> None:
    """Kill the server and cut its log at a random byte: it has lost its last writes."""
    play.server.kill()
    log = max(_logs(play), key=lambda path: path.stat().st_mtime_ns)
    size = log.stat().st_size
    keep = size - play.random.randint(1, max(1, size // 5))
    with log.open("r+b") as file:
        file.truncate(keep)
    play.bites["bytes cut from the log"] += size - keep
    _come_back(play)


def remember(play: Play) -> None:
    """Copy the server's files as they are now."""
    kept = play.server.folder / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    play.server.pause()
    shutil.copytree(play.server.folder / "appendonlydir", kept)
    play.server.resume()


def restore(play: Play) -> None:
    """Kill the server and start it with the files of earlier."""
    play.server.kill()
    shutil.rmtree(play.server.folder / "appendonlydir")
    shutil.copytree(play.server.folder / "kept", play.server.folder / "appendonlydir")
    play.bites["older snapshots"] += 1
    _come_back(play)


def _come_back(play: Play) -> None:
    before = play.bites["rolled back"]
    play.server.start()
    if not wait_for(play, lambda: play.bites["rolled back"] > before):
        play.wrong.append("silent: the server lost writes and nobody noticed")


def _logs(play: Play) -> list[Path]:
    return list((play.server.folder / "appendonlydir").glob("*.aof"))


# Full queues


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

    for process in consumers:
        process.pause()
    try:
        if wait_for(play, waits, 2.0) and not producer.completed:
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
    wait_for(play, lambda: False, 0.2)
    refused = play.stage.answers().get("commit FULL", 0) - before
    if refused > 1:
        play.wrong.append(f"polling: {refused} commits were refused in 0.2 s while there was no room")


def rest(play: Play) -> None:
    """Stop the source until every reader has gone to sleep and asked for a ring."""
    source = play.actors[LoopKey(WORKFLOW, "source")]
    source.process.pause()

    def asleep() -> bool:
        return all(play.stage.command("HGET", play.stage.keys.record(queue), "bells") for queue in ("in", "out"))

    play.bites["rests"] += wait_for(play, asleep)
    source.process.resume()


# Entries put in by hand


def meddle(play: Play) -> None:
    """Add entries to a queue that treadle did not write."""
    queue = play.random.choice(("in", "out"))
    key = play.stage.keys.queue(queue)
    tail = play.stage.field(queue, "tail")
    kind = play.random.choice(("foreign", "pickled", "malformed", "giant", "wrong count"))
    fields: tuple[object, ...] = {
        "foreign": ("temperature", "21.5"),
        "pickled": ("n", "1", "d", pickle.dumps([{"n": 1}])),
        "malformed": ("n", "3", "d", b"\xc1\x93\xff"),
        "giant": ("n", "1", "d", b"\x91\xc6\x00\x30\x00\x00" + bytes(3 * 1024 * 1024)),
        "wrong count": ("n", "1000000000000", "d", b"\x90"),
    }[kind]
    ident = "*" if play.random.random() < 0.5 else f"{tail + play.random.randint(1000, 5000)}-1"
    try:
        play.stage.command("XADD", key, ident, *fields)
    except QueueError:
        return  # the queue has moved past this number meanwhile
    play.entries_by_hand += 1
    play.bites[f"by hand: {kind}"] += 1


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
