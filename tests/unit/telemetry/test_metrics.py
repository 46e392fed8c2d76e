from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from tests.otlp import values
from treadle.telemetry import conventions as c
from treadle.telemetry.counts import Counts
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.loops import LoopFamilies
from treadle.telemetry.metric_encoding import encode_metrics
from treadle.telemetry.metrics import BOUNDS_S, Distribution, Family, distribution, text
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


LABELS = st.dictionaries(st.sampled_from(("namespace", "loop", "queue", "outcome", "le")), st.text(max_size=200))
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
BUCKETS = st.lists(st.integers(0, 2**40), max_size=64)
SERIES = st.lists(st.tuples(LABELS, NUMBERS), max_size=3)
HISTOGRAMS = st.lists(st.tuples(LABELS, BUCKETS.map(distribution)), max_size=3)
FAMILIES = st.builds(
    Family, st.text(), st.sampled_from(("gauge", "counter")), st.text(), st.text(), SERIES
) | st.builds(Family, st.text(), st.just("histogram"), st.text(), st.text(), st.just([]), HISTOGRAMS)


@given(st.lists(FAMILIES, max_size=4), st.integers(0, 2**63), st.integers(0, 2**63))
def test_what_is_written_is_what_is_read(families: list[Family], since: int, now: int) -> None:
    resource = resource_of({c.SERVICE_NAME: "test"})
    body, count = encode_metrics(iter(families), resource, since_ns=since, now_ns=now)
    (of_resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    (of_scope,) = of_resource.scope_metrics

    assert (of_resource.resource, of_resource.schema_url, of_scope.scope.name) == (resource, c.SCHEMA_URL, c.SCOPE)
    assert count == sum(len(family.samples) + len(family.distributions) for family in families)
    for family, metric in zip(families, of_scope.metrics, strict=True):
        assert (metric.name, metric.unit, metric.description) == (family.name, family.unit, family.help)
        data = getattr(metric, "sum" if family.kind == "counter" else family.kind)
        assert metric.WhichOneof("data") == ("sum" if family.kind == "counter" else family.kind)
        if family.kind != "gauge":
            assert data.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        assert getattr(data, "is_monotonic", False) == (family.kind == "counter")
        series = family.samples or family.distributions
        for (labels, value), point in zip(series, data.data_points, strict=True):
            assert list(values(point.attributes).values()) == list(labels.values())
            assert (point.start_time_unix_nano, point.time_unix_nano) == (since, now)
            if isinstance(value, Distribution):
                assert (tuple(point.bucket_counts), point.sum) == (value.counts, value.total_s)
                assert (point.count, tuple(point.explicit_bounds)) == (sum(value.counts), BOUNDS_S)
            else:
                assert getattr(point, point.WhichOneof("value")) == value
