from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.v1 import loop_pb2, queue_pb2
from wfctl.dev import snapshot
from wfctl.dev.cluster import Cluster, ClusterConfig
from wfctl.dev.daemon import Daemon
from wfctl.dev.session import Ending
from wfctl.dev.snapshot import Snapshot, verdict
from wfctl.errors import BadUsage, DaemonFailed, NotPlaceable, Unhealthy

RUNNING = loop_pb2.LOOP_STATE_RUNNING
COMPLETED = loop_pb2.LOOP_STATE_COMPLETED
PENDING = loop_pb2.LOOP_STATE_PENDING
ERROR = loop_pb2.LOOP_STATE_ERROR


def snap(*states: loop_pb2.LoopState.ValueType) -> Snapshot:
    return Snapshot(tuple(loop_pb2.Loop(workflow="w", name=f"l{i}", state=state) for i, state in enumerate(states)))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_counts_from_when_all_loops_run() -> None:
    clock = Clock()
    ending = Ending(10.0, clock=clock)

    assert not ending.is_due(snap(RUNNING, PENDING))
    clock.now += 9
    assert not ending.is_due(snap(RUNNING, RUNNING))
    clock.now += 9.9
    assert not ending.is_due(snap(RUNNING, RUNNING))
    clock.now += 0.1
    assert ending.is_due(snap(RUNNING, RUNNING))


def test_loops_that_never_run_end_a_limited_session_too() -> None:
    clock = Clock()
    ending = Ending(1.0, clock=clock)

    assert not ending.is_due(snap(PENDING))
    clock.now += 60
    assert ending.is_due(snap(PENDING))


def test_a_session_ends_when_all_loops_have_ended_and_not_before() -> None:
    ending = Ending(None)

    assert not ending.is_due(Snapshot())
    assert not ending.is_due(snap(COMPLETED, RUNNING))
    assert ending.is_due(snap(COMPLETED, COMPLETED))
    assert ending.is_due(snap(COMPLETED, ERROR))


def test_a_session_without_files_goes_on_for_what_will_be_applied() -> None:
    assert not Ending(None, by_itself=False).is_due(snap(COMPLETED))


def test_a_loop_of_an_older_epoch_does_not_run_yet() -> None:
    loop = loop_pb2.Loop(state=RUNNING)
    loop.instances.add(epoch=2).status.epoch = 1

    assert not Snapshot((loop,)).has_begun
    loop.instances[0].status.epoch = 2
    assert Snapshot((loop,)).has_begun


def test_the_verdict_is_by_the_states_at_the_end() -> None:
    assert verdict(snap(COMPLETED, COMPLETED), began=True) is None
    assert verdict(snap(RUNNING), began=True) is None
    assert isinstance(verdict(snap(RUNNING, ERROR), began=True), Unhealthy)
    assert isinstance(verdict(snap(RUNNING, PENDING), began=False), NotPlaceable)
    assert verdict(snap(RUNNING, PENDING), began=True) is None
    assert verdict(Snapshot(), began=False) is None


def test_the_figures_at_the_end_are_lines_that_programs_can_read() -> None:
    loop = loop_pb2.Loop(workflow="w", name="b", committed=12, errors=1)
    queue = queue_pb2.Queue(name="q", pushed=12, committed=11, depth=1)

    assert list(snapshot.summary(Snapshot((loop,), (queue,)))) == [
        "loop w/b committed=12 errors=1",
        "queue q pushed=12 committed=11 depth=1",
    ]


def test_only_what_changed_is_told() -> None:
    before, now = snap(RUNNING, PENDING), snap(RUNNING, RUNNING)

    assert list(snapshot.changed(before, now)) == ["w/l1 RUNNING"]


@pytest.mark.parametrize("option", ["port", "http_port"])
def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"port": 0, "http_port": 0, option: port}
        cluster = Cluster(ClusterConfig(state_dir=tmp_path, **ports))

        with pytest.raises(BadUsage, match=f"port {port} can't be used.*--{option.replace('_', '-')} 0"):
            cluster.start()
        cluster.stop()


def test_two_clusters_do_not_share_a_state_folder(tmp_path: Path) -> None:
    holder = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        cluster = Cluster(ClusterConfig(state_dir=tmp_path, port=0, http_port=0))

        with pytest.raises(BadUsage, match="another `wfctl dev` uses"):
            cluster.start()
        cluster.stop()
        other.communicate()


def test_a_temporary_state_folder_is_gone_after_a_start_that_failed() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cluster = Cluster(ClusterConfig(port=taken.getsockname()[1]))

        with pytest.raises(BadUsage):
            cluster.start()
    folder = cluster.folder
    assert folder.is_dir()
    cluster.stop()

    assert not folder.exists()


def watch_for_ever(cluster: Cluster, said: list[str]) -> None:
    while True:
        said += cluster.watch()


def test_a_daemon_that_dies_again_and_again_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    cluster = Cluster(ClusterConfig(state_dir=tmp_path))
    daemon = Daemon("agent x", "no_such_module_at_all", [], env=dict(os.environ), log=tmp_path / "x.log")
    cluster.agents = [daemon]
    daemon.start()

    said: list[str] = []
    with pytest.raises(DaemonFailed, match=r"agent x ended with exit code 1; (?s:.*)no_such_module_at_all"):
        watch_for_ever(cluster, said)

    assert said == ["agent x ended with exit code 1; started again"] * 5
