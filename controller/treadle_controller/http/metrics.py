"""Prometheus text: loops, queues and agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from treadle.queues.stats import QueueStats
from treadle.v1 import loop_pb2
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.cluster.model import State
from treadle_controller.leader.image import Image
from treadle_controller.leader.settle import totals

_Sample = tuple[dict[str, str], float]
_Metric = tuple[str, str, str, list[_Sample]]


def exposition(image: Image, queues: Mapping[str, QueueStats], *, redis_up: bool, redis_renewals: int = 0) -> str:
    """Return all metrics as text."""
    families: list[_Metric] = [
        *_loops(image),
        *_queues(image.namespace, queues),
        *_agents(image),
        ("treadle_redis_up", "gauge", "Whether the controller reaches the queues.", [({}, float(redis_up))]),
        (
            "treadle_redis_renewals_total",
            "counter",
            "Times that queues were lost or went back.",
            [({}, redis_renewals)],
        ),
    ]
    return "".join(_family(*family) for family in families)


def _family(name: str, kind: str, help_text: str, samples: Iterable[_Sample]) -> str:
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {value:g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _loops(image: Image) -> list[_Metric]:
    committed: list[_Sample] = []
    errors: list[_Sample] = []
    rates: list[_Sample] = []
    states: list[_Sample] = []
    for workflow in image.workflows.values():
        for loop in workflow.loops.values():
            labels = {"namespace": image.namespace, "workflow": workflow.name, "loop": loop.name}
            held = [one for id_, one in workflow.assignments.items() if id_.loop == loop.name]
            sums = [totals(workflow, one) for one in held]
            committed.append((labels, sum(one for one, _ in sums) + loop.past_committed))
            errors.append((labels, sum(one for _, one in sums) + loop.past_errors))
            rates.append((labels, sum(_rate(workflow.observed.get(id_)) for id_ in loop.replicas)))
            state = image.loop_standing(workflow, loop).state
            states.append(({**labels, "state": state.name}, 1.0))
    return [
        ("treadle_loop_committed_iterations_total", "counter", "Iterations committed.", committed),
        ("treadle_loop_errors_total", "counter", "Errors of nodes.", errors),
        ("treadle_loop_iterations_per_second", "gauge", "Commits per second, as agents report them.", rates),
        ("treadle_loop_state", "gauge", "1 for the state that a loop is in.", states),
    ]


def _rate(seen: object) -> float:
    report = getattr(seen, "report", None)
    running = getattr(seen, "state", None) is State.RUNNING
    return report.iterations_per_second if running and isinstance(report, loop_pb2.LoopStatus) else 0.0


def _queues(namespace: str, queues: Mapping[str, QueueStats]) -> list[_Metric]:
    def each(field: str) -> list[_Sample]:
        labels = ({"namespace": namespace, "queue": name} for name in queues)
        values = (float(getattr(stats, field)) for stats in queues.values())
        return list(zip(labels, values, strict=True))

    ages: list[_Sample] = [
        ({"namespace": namespace, "queue": name}, stats.oldest_age_s or 0.0)
        for name, stats in queues.items()
        if stats.oldest_age_s is not None or stats.depth == 0
    ]
    return [
        ("treadle_queue_oldest_message_age_seconds", "gauge", "Age of the oldest message, at least.", ages),
        ("treadle_queue_depth", "gauge", "Messages in the queue, claimed ones included.", each("depth")),
        ("treadle_queue_bytes", "gauge", "Bytes of these messages.", each("bytes")),
        ("treadle_queue_claimed", "gauge", "Messages claimed and not committed.", each("claimed")),
        ("treadle_queue_dead_letters", "gauge", "Dead letters.", each("dead")),
        ("treadle_queue_pushed_total", "counter", "Messages pushed.", each("pushed")),
        ("treadle_queue_committed_total", "counter", "Messages committed.", each("committed")),
    ]


def _agents(image: Image) -> list[_Metric]:
    agents = image.fleet.agents.values()
    ready = [({"agent": agent.name}, float(agent.liveness is Liveness.READY)) for agent in agents]
    closed = [({"agent": agent.name}, float(agent.cordoned or agent.draining)) for agent in agents]
    slots = [({"agent": a.name, "pool": pool}, float(count)) for a in agents for pool, count in a.slots.items()]
    used = [({"agent": a.name, "pool": pool}, float(a.used.get(pool, 0))) for a in agents for pool in a.slots]
    return [
        ("treadle_agent_ready", "gauge", "Whether the agent is connected.", ready),
        (
            "treadle_agent_closed",
            "gauge",
            "Whether it takes no new loops: cordoned, draining, stopping.",
            closed,
        ),
        ("treadle_agent_slots", "gauge", "Slots that the agent has.", slots),
        ("treadle_agent_slots_used", "gauge", "Slots that are taken.", used),
    ]
