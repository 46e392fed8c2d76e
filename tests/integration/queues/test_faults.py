"""Nothing is lost and nothing doubled when answers, servers and owners go away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cutting_proxy import CuttingProxy, cutting_proxy
from tests.queue_world import World, eventually, item, loop, polled, push, settle, spec, take, take_all, until
from tests.servers import TestServer
from treadle.errors import QueueError, TenureLost
from treadle.queues.admin import QueueAdmin
from treadle.queues.redis_host import RedisHost
from treadle.workflow.plan import QueueLimits

A, B = loop("a"), loop("b")


@pytest.fixture
def own(server: TestServer) -> Iterator[World]:
    """Return a namespace on a server that may be harmed."""
    one = World(server.url)
    yield one
    one.stop()


@pytest.fixture
def proxy(shared_server: TestServer) -> Iterator[CuttingProxy]:
    """Return a proxy in front of the shared server."""
    with cutting_proxy(shared_server.url) as one:
        yield one


def lost(call: Callable[[], object]) -> TenureLost:
    """Return what a call raises."""
    with pytest.raises(TenureLost) as caught:
        call()
    return caught.value


# Fencing


def test_a_loop_without_the_epoch_in_redis_does_not_open(world: World) -> None:
    host = world.host()
    assert lost(lambda: host.open(spec(A, 1))).reason == "fenced"
    world.assign(A, epoch=5)
    assert lost(lambda: host.open(spec(A, 4))).details["stored_epoch"] == 5
    assert host.open(spec(A, 5)).epoch == 5


def test_a_zombie_of_an_older_epoch_commits_nothing(world: World) -> None:
    world.assign(A, B)
    host = world.host()
    zombie = host.open(spec(A, writes=["q"]))
    push(zombie, "q", [0])
    world.assign(A, epoch=2)

    zombie.append((), (("q", item(1)),))

    assert lost(lambda: settle(zombie)).reason == "fenced"
    assert world.do(lambda admin: admin.depths(["q"]))["q"].pushed == 1


def test_a_zombie_of_an_older_incarnation_commits_nothing(world: World) -> None:
    world.assign(A, B)
    world.do(lambda admin: admin.push("q", [item(n) for n in range(4)]))
    zombie = world.host().open(spec(B, reads=["q"]))
    polled(zombie, "q")
    heir = world.host().open(spec(B, reads=["q"]))
    assert heir.inc == zombie.inc + 1

    zombie.append((("q", 1, 4),), ())

    assert lost(lambda: settle(zombie)).reason == "fenced"
    assert take(heir, "q", 4) == [0, 1, 2, 3]


def test_a_deposed_controller_assigns_nothing(world: World) -> None:
    world.do(lambda admin: admin.beat(7))
    with pytest.raises(QueueError, match="higher term"):
        world.do(lambda admin: admin.assign([(A, 1)], 6))


def test_another_redis_of_the_same_name_opens_no_loop(world: World) -> None:
    world.assign(A)
    host = RedisHost.in_thread(world.url, world.namespace, "host", expected_id="another")
    assert lost(lambda: host.open(spec(A))).reason == "wrong-redis"
    host.stop()


def test_a_fork_of_the_process_can_not_commit(world: World) -> None:
    world.assign(A)
    tenure = world.host().open(spec(A, writes=["q"]))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, (tenure.lost.reason if tenure.lost else "not lost").encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"forked"
    os.close(reader)
    os.close(writer)
    push(tenure, "q", [1])


# Lost answers


def test_a_commit_whose_answer_was_lost_is_done_once(world: World, proxy: CuttingProxy) -> None:
    world.assign(A, B)
    writer = world.host(proxy.url).open(spec(A, writes=["q"]))
    proxy.cut(b"treadle_commit", times=3)

    push(writer, "q", range(100))

    assert proxy.cuts == 3
    assert writer.lost is None
    assert take(world.host().open(spec(B, reads=["q"])), "q", 100) == list(range(100))
    assert world.do(lambda admin: admin.depths(["q"]))["q"].pushed == 100


def test_an_acknowledgement_whose_answer_was_lost_is_done_once(world: World, proxy: CuttingProxy) -> None:
    world.assign(B)
    world.do(lambda admin: admin.push("q", [item(n) for n in range(300)]))
    reader = world.host(proxy.url).open(spec(B, reads=["q"]))
    proxy.cut(b"treadle_acknowledge", times=2)

    assert take(reader, "q", 300) == list(range(300))
    assert proxy.cuts == 2
    assert world.do(lambda admin: admin.depths(["q"]))["q"].committed == 300


def test_an_incarnation_whose_answer_was_lost_is_not_a_rival(world: World, proxy: CuttingProxy) -> None:
    world.assign(A)
    host = world.host(proxy.url)
    proxy.cut(b"treadle_incarnate")

    tenure = host.open(spec(A, writes=["q"]))

    assert (proxy.cuts, tenure.inc) == (1, 1)
    push(tenure, "q", [1])


def test_a_refusal_whose_answer_was_lost_gets_other_content_only_under_a_new_incarnation(
    world: World, proxy: CuttingProxy
) -> None:
    world.assign(A, B)
    writer = world.host(proxy.url).open(spec(A, writes=["q"], limits=QueueLimits(3, None)))
    reader = world.host().open(spec(B, reads=["q"]))
    push(writer, "q", range(3))
    proxy.cut(b"treadle_commit")
    for n in range(3, 9):
        writer.append((), (("q", item(n)),))
    until(writer, lambda: not writer.has_room)

    assert take(reader, "q", 9) == list(range(9))
    settle(writer)
    assert (proxy.cuts, writer.inc) == (1, 2)


# The server goes away


def test_loops_go_on_by_themselves_after_the_server_was_killed(own: World, server: TestServer) -> None:
    own.do(lambda admin: admin.enter_writers({"q": [A]}))
    own.assign(A, B)
    host = own.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    push(writer, "q", range(100))
    assert take(reader, "q", 50) == list(range(50))

    server.kill()
    for n in range(100, 200):
        writer.append((), (("q", item(n)),))
    eventually(lambda: host.trouble is not None)
    server.start()
    began = time.monotonic()
    settle(writer)

    assert time.monotonic() - began < 2.0
    assert take(reader, "q", 150) == list(range(50, 200))
    writer.append((), (), completes=True)
    settle(writer)
    until(reader, lambda: reader.ended("q"))


def test_a_reader_that_was_idle_when_the_server_died_wakes_for_the_next_message(own: World, server: TestServer) -> None:
    own.assign(B)
    reader = own.host().open(spec(B, reads=["q"]))
    eventually(lambda: own.command("HGET", own.key("q:q:m"), "bells") is not None)
    server.kill()
    server.start()

    own.do(lambda admin: admin.push("q", [item(1)]))

    assert take(reader, "q", 1, patience_s=5.0) == [1]


def test_loops_wait_while_the_functions_are_gone(world: World) -> None:
    world.assign(A)
    tenure = world.host().open(spec(A, writes=["q"]))
    world.command("FUNCTION", "DELETE", "treadle")
    tenure.append((), (("q", item(1)),))
    eventually(lambda: tenure.pipeline.trouble is not None)

    world.do(lambda admin: admin.load_functions())

    settle(tenure)


def test_a_server_that_lost_commits_is_noticed(world: World) -> None:
    world.assign(A)
    tenure = world.host().open(spec(A, writes=["q"]))
    push(tenure, "q", [1, 2])
    world.command("HSET", world.key(f"l:{A}"), "seq", 0)

    tenure.append((), (("q", item(3)),))

    assert lost(lambda: settle(tenure)).reason == "gap"


def test_an_epoch_that_the_server_has_forgotten_means_that_it_lost_writes(world: World) -> None:
    world.assign(A, epoch=5)
    host = world.host()
    world.command("HSET", world.key(f"l:{A}"), "epoch", 4)

    found = lost(lambda: host.open(spec(A, writes=["q"], epoch=5)))

    assert (found.reason, found.details["stored_epoch"]) == ("gap", 4)


def test_the_admins_first_call_after_a_restart_is_answered(own: World, server: TestServer) -> None:
    async def run() -> None:
        async with QueueAdmin(server.url, own.namespace) as admin:
            before, _ = await admin.beat(1)
            server.kill()
            server.start()
            assert (await admin.beat(1))[0] == before + 1

    asyncio.run(run())


def test_half_a_transaction_at_the_end_of_the_log_is_gone_for_good(own: World, server: TestServer) -> None:
    own.command("SET", own.key("whole"), 1)
    own.do(_renew)
    server.kill()
    with _log_of(server).open("ab") as log:
        log.write(_as_logged("MULTI") + _as_logged("SET", own.key("torn"), "1"))  # and no EXEC
    server.start()

    assert own.do(_renew)
    eventually(lambda: own.do(_written))
    assert not own.do(_renew)  # once is enough
    assert b"torn" not in b"".join(each.read_bytes() for each in server.folder.rglob("*.aof"))
    for _ in range(2):
        own.command("SET", own.key("later"), 2)
        server.kill()
        server.start()
    assert [own.command("EXISTS", own.key(name)) for name in ("whole", "torn", "later")] == [1, 0, 1]


async def _renew(admin: QueueAdmin) -> bool:
    return await admin.renew_log(await admin.check_server())


async def _written(admin: QueueAdmin) -> bool:
    info = await admin.command("INFO", "persistence")
    return not (int(info["aof_rewrite_in_progress"]) or int(info["aof_rewrite_scheduled"]))


def _log_of(server: TestServer) -> Path:
    return max(server.folder.rglob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))


def _as_logged(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


def test_a_key_of_another_type_is_named_and_nothing_is_applied(world: World) -> None:
    world.assign(A)
    tenure = world.host().open(spec(A, writes=["p", "q"]))
    world.command("SET", world.key("q:q"), "x")

    tenure.append((), (("p", item(1)), ("q", item(1))))

    refused = lost(lambda: settle(tenure))
    assert (refused.reason, refused.details["answer"][0]) == ("bad-type", world.key("q:q"))
    assert world.command("XLEN", world.key("q:p")) == 0
    assert world.do(lambda admin: admin.depths(["p"]))["p"].pushed == 0


# Full queues, memory


def test_a_full_queue_holds_its_producer_back_and_is_overshot_by_one_iteration_at_most(world: World) -> None:
    world.assign(A, B)
    host = world.host()
    writer = host.open(spec(A, writes=["q"], limits=QueueLimits(10, None)))
    reader = host.open(spec(B, reads=["q"]))
    for n in range(0, 60, 4):
        writer.append((), tuple(("q", item(n + i)) for i in range(4)))
    until(writer, lambda: not writer.has_room)
    depth = world.do(lambda admin: admin.depths(["q"]))["q"].depth
    assert 10 <= depth < 14
    before = writer.pipeline._built

    assert take(reader, "q", 60) == list(range(60))
    settle(writer)

    assert writer.pipeline._built - before < 40


def test_a_producer_that_died_while_it_waited_for_room_lost_nothing_that_was_committed(world: World) -> None:
    world.assign(A, B)
    first = world.host()
    writer = first.open(spec(A, writes=["q"], limits=QueueLimits(5, None), stateful=["n"]))
    for n in range(20):
        writer.append((), (("q", item(n)),), {("n", "next"): str(n + 1).encode()})
    until(writer, lambda: not writer.has_room)
    first.close(writer)

    again = first.open(spec(A, writes=["q"], limits=QueueLimits(5, None), stateful=["n"]))
    for n in range(int(again.state["n"]["next"]), 20):
        again.append((), (("q", item(n)),))

    assert take(world.host().open(spec(B, reads=["q"])), "q", 20) == list(range(20))


def test_limits_in_bytes_hold_too(world: World) -> None:
    world.assign(A)
    writer = world.host().open(spec(A, writes=["q"], limits=QueueLimits(None, 50)))
    for n in range(100):
        writer.append((), (("q", item(n)),))
    until(writer, lambda: not writer.has_room)
    assert 50 <= world.do(lambda admin: admin.depths(["q"]))["q"].bytes < 60


def test_producers_wait_and_consumers_drain_while_the_server_is_out_of_memory(own: World, server: TestServer) -> None:
    own.assign(A, B)
    host = own.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    push(writer, "q", range(200))
    own.command("CONFIG", "SET", "maxmemory", "1mb")
    writer.append((), (("q", item(200)),))
    eventually(lambda: (writer.pipeline.trouble or "").startswith("OOM"))

    assert take(reader, "q", 200) == list(range(200))
    assert writer.in_flight == 1
    own.command("CONFIG", "SET", "maxmemory", "0")

    settle(writer)
    assert take(reader, "q", 1) == [200]


def test_a_purge_drops_what_waits_and_the_reader_reloads(world: World) -> None:
    world.assign(A, B)
    host = world.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    push(writer, "q", range(10))
    polled(reader, "q")
    assert world.do(lambda admin: admin.purge("q")) == 10

    reader.append((("q", 1, 1),), ())

    assert lost(lambda: settle(reader)).reason == "shifted"
    push(writer, "q", [10])
    assert take(host.open(spec(B, reads=["q"])), "q", 1) == [10]


def test_an_idle_reader_does_not_mind_a_purge(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A, B)
    host = world.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    push(writer, "q", [1])
    assert take(reader, "q", 1) == [1]
    world.do(lambda admin: admin.purge("q"))
    push(writer, "q", [2])
    assert take(reader, "q", 1) == [2]


# Killed at named places


@pytest.mark.parametrize("place", ["commit.before-send", "commit.after-send", "commit.after-answer"])
def test_a_consumer_killed_at_a_failpoint_processes_everything_once(world: World, place: str, tmp_path: Path) -> None:
    world.do(lambda admin: admin.enter_writers({"in": [A], "out": [B]}))
    world.assign(A, B, loop("c"))
    host = world.host()
    writer = host.open(spec(A, writes=["in"]))
    push(writer, "in", range(3000))
    writer.append((), (), completes=True)
    settle(writer)
    script = tmp_path / "consumer.py"
    script.write_text(_CONSUMER)
    deaths = 0
    for nth in (1, 2, 3, 0):
        env = os.environ | {
            "TREADLE_FAILPOINTS": f"{place}=kill@{nth}" if nth else "",
            "PYTHONPATH": ":".join(sys.path),
        }
        command = [sys.executable, str(script), world.url, world.namespace]
        done = subprocess.run(command, env=env, check=False, timeout=60)
        deaths += done.returncode == -signal.SIGKILL

    assert deaths == 3
    assert take_all(host.open(spec(loop("c"), reads=["out"])), "out") == list(range(3000))


_CONSUMER = """
import sys
from tests.queue_world import loop, settle, spec, until
from treadle.queues.codec import encode_item
from treadle.queues.redis_host import RedisHost

host = RedisHost.in_thread(sys.argv[1], sys.argv[2], "child")
tenure = host.open(spec(loop("b"), reads=["in"], writes=["out"]))

def work():
    while (batch := tenure.poll("in")) is not None:
        for i, got in enumerate(batch.items):
            tenure.append((("in", batch.first + i, batch.first + i),), (("out", encode_item(got[0])),))
            if got[0]["n"] % 500 == 499:
                settle(tenure)
    return tenure.ended("in")

until(tenure, work)
tenure.append((), (), completes=True)
settle(tenure)
host.stop()
"""


def test_a_server_that_became_a_replica_is_left_and_asked_for_anew(own: World, server: TestServer) -> None:
    own.assign(A)
    tenure = own.host().open(spec(A, writes=["q"]))
    own.command("REPLICAOF", "127.0.0.1", str(server.port))
    tenure.append((), (("q", item(1)),))
    eventually(lambda: (tenure.pipeline.trouble or "").startswith(("READONLY", "MASTERDOWN")))

    own.command("REPLICAOF", "NO", "ONE")

    settle(tenure)


def test_a_server_is_judged_by_what_it_says_about_itself(own: World) -> None:
    assert own.do(lambda admin: admin.check_server()).persistence == "aof"
    own.command("CONFIG", "SET", "appendonly", "no")
    assert own.do(lambda admin: admin.check_server()).warnings
    own.command("CONFIG", "SET", "save", "60 1")
    assert own.do(lambda admin: admin.check_server()).persistence == "rdb"
    own.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert "noeviction" in str(own.do(lambda admin: admin.check_server()).refusal)
