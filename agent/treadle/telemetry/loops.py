"""The metrics of loops and their nodes (semantics.md, section 5), from what agents say of them: the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.telemetry.counts import Counts, NodeCounts
from treadle.telemetry.metrics import Family, distribution
from treadle.v1 import loop_pb2


class LoopFamilies:
    """Makes the families; `add` takes what is known of one replica."""

    def __init__(self) -> None:
        iterations = "{iteration}"
        self._rate = Family(
            "treadle.loop.iterations", "gauge", "{iteration}/s", "Commits per second, as agents report them."
        )
        self._committed = Family("treadle.loop.committed_iterations", "counter", iterations, "Iterations committed.")
        self._idle = Family("treadle.loop.idle_ticks", "counter", "{tick}", "Times that a producer had no work.")
        self._errors = Family("treadle.loop.errors", "counter", "{error}", "Executions that failed for good.")
        self._retries = Family("treadle.loop.retries", "counter", "{attempt}", "Attempts after a failed one.")
        self._restarts = Family("treadle.loop.restarts", "counter", "{restart}", "Times that a loop began again.")
        self._dead = Family("treadle.loop.dead_letters", "counter", "{message}", "Messages made dead letters.")
        self._in_flight = Family("treadle.loop.in_flight", "gauge", iterations, "Iterations not committed yet.")
        self._duration = Family("treadle.loop.iteration.duration", "histogram", "s", "How long iterations took.")
        self._executions = Family("treadle.node.executions", "counter", "{execution}", "Executions that ended.")
        self._attempts = Family("treadle.node.attempts", "counter", "{attempt}", "Attempts, by what came of them.")
        self._failing = Family("treadle.node.failing", "gauge", "1", "Whether a node fails (1) or not (0).")
        self._node_duration = Family("treadle.node.duration", "histogram", "s", "How long executions took.")
        self._blocked = Family("treadle.queue.blocked", "counter", "s", "How long loops waited for room in a queue.")

    @property
    def all(self) -> Iterable[Family]:
        """Return the families."""
        return vars(self).values()

    def add(self, status: loop_pb2.LoopStatus, counts: Counts) -> None:
        """Add one replica of a loop: what is known of it now, and what it counted in all."""
        ref = status.loop
        labels = {
            "namespace": ref.namespace,
            "workflow": ref.workflow,
            "loop": ref.loop,
            "replica": str(ref.replica),
        }
        running = status.state == loop_pb2.LOOP_STATE_RUNNING
        self._rate.add(labels, status.iterations_per_second if running else 0.0)
        self._in_flight.add(labels, status.in_flight)
        for node in status.nodes:
            failing = node.health == loop_pb2.NODE_HEALTH_FAILING
            self._failing.add({**labels, "node": node.node}, float(failing))
        self._add_counts(labels, status.committed, counts)

    def add_past(self, labels: dict[str, str], committed: int, counts: Counts) -> None:
        """Add what replicas did that a loop no longer has, so that its sums stay."""
        self._add_counts({**labels, "replica": "gone"}, committed, counts)

    def _add_counts(self, labels: dict[str, str], committed: int, counts: Counts) -> None:
        self._committed.add(labels, committed)
        self._idle.add(labels, counts.idle_ticks)
        self._errors.add(labels, counts.errors)
        self._retries.add(labels, counts.retries)
        self._restarts.add(labels, counts.restarts)
        self._dead.add(labels, counts.dead_letters)
        self._duration.distributions.append((labels, distribution(counts.durations)))
        for queue, seconds in counts.blocked.items():
            self._blocked.add({**labels, "queue": queue}, seconds)
        for name, node in counts.nodes.items():
            self._add_node({**labels, "node": name}, node)

    def _add_node(self, labels: dict[str, str], node: NodeCounts) -> None:
        self._executions.add(labels, node.executions)
        self._attempts.add({**labels, "outcome": "succeeded"}, sum(node.durations))
        self._attempts.add({**labels, "outcome": "failed"}, node.failures)
        self._node_duration.distributions.append((labels, distribution(node.durations)))
