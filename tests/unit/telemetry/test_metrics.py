from __future__ import annotations

import subprocess

import pytest

from treadle.telemetry.counts import Counts
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.loops import LoopFamilies
from treadle.telemetry.metrics import BOUNDS_S, Family, distribution, encode_metrics, text
from treadle.v1 import loop_pb2


def status(name: str = "l") -> loop_pb2.LoopStatus:
    return loop_pb2.LoopStatus(
        loop=loop_pb2.LoopRef(namespace="ns", workflow="w", loop=name),
        state=loop_pb2.LOOP_STATE_RUNNING,
        committed=12_345_678,
        errors=2,
        retries=3,
        duration_log2_ns=[0] * 20 + [5],
        nodes=[loop_pb2.NodeStatus(node='a"b', executions=5, failures=4, duration_log2_ns=[0] * 20 + [5])],
    )


def counts() -> Counts:
    made = Counts()
    made.add(status())
    return made


@pytest.mark.parametrize(
    ("name", "kind", "unit", "prometheus"),
    [
        ("treadle.loop.errors", "counter", "{error}", "treadle_loop_errors_total"),
        ("treadle.node.duration", "histogram", "s", "treadle_node_duration_seconds"),
        ("treadle.queue.bytes", "gauge", "By", "treadle_queue_bytes"),
        ("treadle.loop.iterations", "gauge", "{iteration}/s", "treadle_loop_iterations_per_second"),
        ("treadle.redis.up", "gauge", "1", "treadle_redis_up"),
    ],
)
def test_a_metric_has_a_name_by_either_convention(name: str, kind: str, unit: str, prometheus: str) -> None:
    assert Family(name, kind, unit, "x").prometheus_name == prometheus  # type: ignore[arg-type]


def test_durations_keep_their_buckets() -> None:
    found = distribution([1] * 40)

    assert sum(found.counts) == 40
    assert found.counts[0] == 10, "up to the first bound, 2^10 ns"
    assert found.counts[1] == 2
    assert found.counts[-1] == 4, "above the last"
    assert len(found.counts) == len(BOUNDS_S) + 1


@pytest.mark.requires("promtool")
def test_promtool_takes_a_page_and_counters_are_told_to_the_last_digit() -> None:
    loops = LoopFamilies()
    loops.add(status(), counts())
    page = text(loops.all)

    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert 'treadle_loop_committed_iterations_total{namespace="ns",workflow="w",loop="l",replica="0"} 12345678' in page
    assert 'node="a\\"b"' in page


def test_every_series_is_a_data_point() -> None:
    loops = LoopFamilies()
    loops.add(status("one"), counts())
    loops.add(status("two"), counts())

    body, points = encode_metrics(loops.all, resource_of({}), since_ns=1, now_ns=2)

    assert body
    assert points == 2 * (9 + 5)
