"""Faults: the server dies, loses its last writes, its functions or its memory, or does not get to answer."""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos.queues.flow import WORKFLOW
from tests.chaos.queues.play import PATIENCE_S, Play
from tests.servers import TestServer
from treadle.queues.tenure import LoopKey

PILE = 50  # messages


def cut(play: Play) -> None:
    """Lose the answers of some calls that the server does."""
    assert play.proxy is not None
    patterns = [b"treadle_commit", b"treadle_commit", b"treadle_", b"XREAD"]
    if LoopKey(WORKFLOW, "transform", 1) in play.actors:
        patterns += [b"treadle_claim", b"treadle_claim"]
    play.bites["answers cut"] = play.proxy.cuts
    play.proxy.cut(play.random.choice(patterns), times=play.random.randint(1, 3), every=play.random.randint(1, 4))


def restart(play: Play) -> None:
    """Kill the server and start it again: every loop has to commit again within two seconds, without help."""
    play.let_more()
    play.server.kill()
    for _ in range(play.random.randint(1, 20)):
        play.look()
    play.server.start()
    began = time.monotonic()
    before = {key: play.stage.tenure(key)[2] for key, actor in play.actors.items() if not actor.completed}
    play.let_more()

    def all_go_on() -> bool:
        return all(play.actors[key].completed or play.stage.tenure(key)[2] > seq for key, seq in before.items())

    if not play.wait_for(all_go_on):
        play.wrong.append("slow: loops did not go on after the server was back")
    took_ms = int((time.monotonic() - began) * 1000)
    play.bites["server restarts"] += 1
    play.bites["slowest recovery, ms"] = max(play.bites["slowest recovery, ms"], took_ms)
    if took_ms > 2000:
        play.wrong.append(f"slow: loops went on only {took_ms} ms after the server was back")


def flush_functions(play: Play) -> None:
    """Take the functions away; loops wait, and go on when they are back."""
    play.let_more()
    before = play.stage.errors("ERR")
    play.stage.command("FUNCTION", "FLUSH")
    deadline = time.monotonic() + PATIENCE_S
    while play.stage.errors("ERR") <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    play.bites["calls without functions"] += play.stage.errors("ERR") - before
    play.stage.load_functions()


def starve(play: Play) -> None:
    """Leave the server no memory: the sink drains what is there, producers wait, and all goes on afterwards."""
    assert not play.script.ledger, "who pushes to a ledger can drain nothing"
    play.let_more()
    sink = play.actors[LoopKey(WORKFLOW, "sink")]
    sink.process.pause()
    play.bites["drained without memory"] += play.wait_for(lambda: play.stage.depth("out") > PILE)
    before = play.stage.errors("OOM")
    play.stage.command("CONFIG", "SET", "maxmemory", "1mb")
    sink.process.kill()
    inc = play.stage.tenure(sink.key)[1]
    play.spawn(sink.key, sink.epoch)
    if not play.wait_for(lambda: play.stage.tenure(sink.key)[1] > inc):
        play.wrong.append("stalled: a consumer could not be opened while memory was short")
    if not play.wait_for(lambda: play.stage.depth("out") == 0):
        play.wrong.append("stalled: the sink did not drain its queue while memory was short")
    # Only now, for whoever waited for room before has some at last, and asks for memory.
    if not play.wait_for(lambda: play.stage.errors("OOM") > before + 2):
        play.wrong.append("vacuous: nobody ran out of memory")
    play.bites["calls without memory"] += play.stage.errors("OOM") - before
    play.stage.command("CONFIG", "SET", "maxmemory", "0")


def cut_aof(play: Play) -> None:
    """Kill the server and cut its log at a random byte: it has lost its last writes."""
    play.server.kill()
    size = log_of(play.server).stat().st_size
    lose(play, size, size - play.random.randint(1, max(1, size // 5)))


def lose(play: Play, size: int, keep: int) -> None:
    """Shorten the log of a server that is dead, and start it."""
    with log_of(play.server).open("r+b") as file:
        file.truncate(keep)
    play.bites["bytes cut from the log"] += size - keep
    _come_back(play)


def remember(play: Play) -> None:
    """Copy the server's files as they are now."""
    play.server.keep()


def restore(play: Play) -> None:
    """Kill the server and start it with the files of earlier."""
    play.server.kill()
    play.server.put_back(play.server.folder / "kept")
    play.bites["older snapshots"] += 1
    _come_back(play)


def _come_back(play: Play) -> None:
    """Start the server. Going back behind a beat that was answered has to be noticed at once.

    What is younger than the last beat may be nobody's loss: a call whose answer had not come is sent again, and a loop
    that had committed says so at its next commit. Whether that was all is for the checker to find.
    """
    before, answered = play.bites["rolled back"], play.stage.beats
    play.server.start()
    if play.stage.stored_beat() >= answered:
        play.bites["losses younger than the last beat"] += 1
        play.stage.rewrite_log()  # as the controller does after each start: half a transaction may be at its end
        play.stage.load_functions()
    elif not play.wait_for(lambda: play.bites["rolled back"] > before):
        play.wrong.append("silent: the server lost writes and nobody noticed")


def log_of(server: TestServer) -> Path:
    """Return the file that a server writes its log to now."""
    logs = (server.folder / "appendonlydir").glob("*.aof")
    return max(logs, key=lambda path: path.stat().st_mtime_ns)
