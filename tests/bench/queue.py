"""Messages from loop to loop through a real server, every message one iteration and one transaction.

Two processes (three with a transform between), the product's LoopManager and tenures, dict payloads of 200 bytes,
nothing on disk. Against the same server, in turn with it: redis-py one message at a time, and redis-benchmark, which
only pushes. The full run adds other people's queues (queue_others.py), and kills a worker of each at half way.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tests.bench import queue_others, queue_peers
from tests.bench.queue_loops import WORKFLOW, plan, run_loop
from tests.servers import binary_of, redis_server
from treadle.queues.admin import QueueAdmin
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import Plan

_spawn = multiprocessing.get_context("spawn")
PATIENCE_S = 120
Job = tuple[Callable[..., None], tuple[Any, ...]]


def together(jobs: list[Job]) -> tuple[float, list[dict[str, Any]]]:
    """Run jobs in processes that begin at the same moment; return that moment and what they reported."""
    pipes: list[Connection] = []
    processes = []
    for target, args in jobs:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(target=target, args=(*args, theirs))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        for pipe in pipes:
            _receive(pipe)
        began = time.monotonic()
        for pipe in pipes:
            pipe.send("go")
        return began, [_receive(pipe) for pipe in pipes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(PATIENCE_S):
        message = "a process of the benchmark does not answer"
        raise TimeoutError(message)
    return pipe.recv()


def prepare(url: str, namespace: str, plans: list[Plan]) -> None:
    """Do what the controller does before it assigns loops."""

    async def run() -> None:
        async with QueueAdmin(url, namespace) as admin:
            await admin.load_functions()
            await admin.namespace_id()
            keys = {each.loop: LoopKey(WORKFLOW, each.loop) for each in plans}
            await admin.enter_writers({queue: [keys[each.loop]] for each in plans for queue in each.writes})
            await admin.assign([(key, 1) for key in keys.values()], 1)

    asyncio.run(run())


def chain(url: str, namespace: str, plans: list[Plan], count: int) -> tuple[float, list[dict[str, Any]]]:
    """Run loops that feed each other; return messages per second from the first call to the last commit."""
    prepare(url, namespace, plans)
    began, reports = together([(run_loop, (url, namespace, each)) for each in plans])
    for report in reports:
        if report["outcome"] != "completed":
            message = f"a loop of the benchmark ended as {report}"
            raise RuntimeError(message)
    return count / (max(report["done"] for report in reports) - began), reports


def throughput(url: str, count: int, name: str) -> tuple[float, float]:
    """Return messages per second end to end, and CPU microseconds per message of both processes."""
    plans = [
        plan("source", read=None, uses="bench.source", write="q", params={"count": count}),
        plan("sink", read="q", uses="bench.count", write=None),
    ]
    rate, reports = chain(url, name, plans, count)
    return rate, sum(report["cpu_s"] for report in reports) / count * 1e6


def transform(url: str, count: int, name: str) -> float:
    """Return messages per second of a loop that pops, pushes on and commits, its queue filled before."""
    fill = plan("source", read=None, uses="bench.source", write="in", params={"count": count})
    chain(url, name, [fill], count)
    return chain(url, name, [plan("middle", read="in", uses="bench.pass", write="out")], count)[0]


def latency(url: str, count: int, rate: float, name: str) -> list[float]:
    """Return how long messages took from loop to loop, in ms."""
    plans = [
        plan("source", read=None, uses="bench.source", write="q", params={"count": count, "rate": rate}),
        plan("sink", read="q", uses="bench.sink", write=None),
    ]
    _, reports = chain(url, name, plans, count)
    return [delay / 1e6 for delay in reports[1]["delays"]]


def one_by_one(url: str, seconds: float) -> float:
    """Return messages per second of redis-py, one at a time."""
    began, reports = together(
        [
            (queue_peers.push_one_by_one, (url, seconds)),
            (queue_peers.pop_one_by_one, (url,)),
        ]
    )
    return float(reports[1]["count"] / (reports[1]["done"] - began))


def brpop_latency(url: str, count: int, rate: float) -> list[float]:
    """Return how long messages took through LPUSH and BRPOP, in ms."""
    jobs: list[Job] = [(queue_peers.lpush_at, (url, rate, count)), (queue_peers.brpop, (url, count))]
    _, reports = together(jobs)
    return [delay / 1e6 for delay in reports[1]["delays"]]


def killed(url: str) -> queue_others.Toll:
    """Return how many messages were lost and how many doubled by a kill of the transform at half way."""
    namespace, count = "killed", 1_000_000
    fill = plan("source", read=None, uses="bench.source", write="in", params={"count": count})
    middle = plan("middle", read="in", uses="bench.pass", write="out")
    chain(url, namespace, [fill], count)
    prepare(url, namespace, [middle])
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=run_loop, args=(url, namespace, middle, theirs))
    process.start()
    _receive(ours)
    ours.send("go")
    moved = asyncio.run(_kill_half_way(url, namespace, process, count))
    if not count // 2 <= moved < count:
        message = f"the transform was killed after {moved} of {count} messages"
        raise RuntimeError(message)
    chain(url, namespace, [middle], count)
    _, reports = chain(url, namespace, [plan("sink", read="out", uses="bench.tally", write=None)], count)
    return queue_others.tally(reports[0]["noted"], count)


async def _kill_half_way(url: str, namespace: str, process: Any, count: int) -> int:
    async with QueueAdmin(url, namespace) as admin:
        while (await admin.depths(["out"]))["out"].depth < count // 2:
            pass  # each look waits for the server
        process.kill()
        process.join()
        return (await admin.depths(["out"]))["out"].depth


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100)[percent - 1]


class Rounds:
    """What the rounds of a run came to: each measures us and then a peer, within seconds of each other.

    A machine that others use too is quicker in one minute than in the next. So what is compared is measured side by
    side, and a ratio is the median of the rounds' ratios, not one of two figures from different minutes.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        """Take a round's figure."""
        self.found.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """Return the figure of the middle round."""
        return statistics.median(self.found[name])

    def ratio(self, ours: str, peer: str, digits: int = 2) -> float:
        """Return the middle one of the rounds' ratios."""
        each = (a / b for a, b in zip(self.found[ours], self.found[peer], strict=True))
        return round(statistics.median(each), digits)


def speed(url: str, rounds: Rounds, many: int, count: int) -> None:
    """Measure throughput, beside redis-benchmark and redis-py."""
    for n in range(many):
        rate, cpu_us = throughput(url, count, f"throughput-{n}")
        rounds.note("messages_per_s", rate)
        rounds.note("client_cpu_us_per_message", cpu_us)
        pipelined = queue_peers.xadd_pipelined(url, count)
        if pipelined is not None:
            rounds.note("xadd_pipelined_per_s", pipelined)
        rounds.note("transform_per_s", transform(url, count // 2, f"transform-{n}"))
        rounds.note("redis_py_one_by_one_per_s", one_by_one(url, 1.0))


def promptness(url: str, rounds: Rounds, many: int, samples: int) -> None:
    """Measure the latency at 200 messages a second, beside LPUSH and BRPOP."""
    for n in range(many):
        ours, peers = latency(url, samples, 200, f"latency-{n}"), brpop_latency(url, samples, 200)
        for name, delays in (("latency", ours), ("brpop", peers)):
            rounds.note(f"{name}_p50_ms", percentile(delays, 50))
            rounds.note(f"{name}_p99_ms", percentile(delays, 99))


def durability(rounds: Rounds, count: int) -> None:
    """Measure throughput with every commit on disk before it is answered."""
    with redis_server("redis" if binary_of("redis") else "valkey", aof="always") as server:
        rounds.note("fsync_always_per_s", throughput(server.url, count, "durable")[0])


def others(url: str, rounds: Rounds, count: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure the peers; return ratios and figures. The quickest are measured again, in turn with us."""
    rates, kills = queue_others.rates(url), {"treadle": killed(url), **queue_others.kills(url)}
    figures: dict[str, Any] = {f"{name}_per_s": round(each) for name, each in rates.items()}
    figures |= {f"killed_{name}": str(toll) for name, toll in kills.items()}
    by_hand = rates.pop("streams", None)
    against = {"vs_hand_written_batches": "streams"} if by_hand else {}
    if rates:
        against["vs_best_peer"] = max(rates, key=rates.__getitem__)
    for n in range(3):
        rounds.note("beside_peers", throughput(url, count, f"beside-{n}")[0])
        for name in against.values():
            rounds.note(name, queue_others.rate(queue_others.named(name), url))
    return {ratio: rounds.ratio("beside_peers", name, 1) for ratio, name in against.items()}, figures


def main(*, quick: bool) -> dict[str, Any]:
    """Run it."""
    count, many, samples = (400_000, 5, 200) if quick else (1_500_000, 7, 1000)
    rounds = Rounds()
    with redis_server("redis" if binary_of("redis") else "valkey") as server:
        speed(server.url, rounds, many, count)
        promptness(server.url, rounds, many, samples)
    durability(rounds, count // 4)
    rate = rounds.median("messages_per_s")
    ratios = {
        "vs_redis_py_one_by_one": rounds.ratio("messages_per_s", "redis_py_one_by_one_per_s", 1),
        "latency_p50_vs_brpop": rounds.ratio("latency_p50_ms", "brpop_p50_ms"),
        "fsync_always_vs_none": round(rounds.median("fsync_always_per_s") / rate, 2),
    }
    if "xadd_pipelined_per_s" in rounds.found:
        ratios["vs_xadd_pipelined"] = rounds.ratio("messages_per_s", "xadd_pipelined_per_s")
        ratios["transform_vs_xadd_pipelined"] = rounds.ratio("transform_per_s", "xadd_pipelined_per_s")
    figures: dict[str, Any] = {
        name: round(rounds.median(name), 0 if name.endswith("per_s") else 3) for name in rounds.found
    }
    if not quick:
        with redis_server("redis" if binary_of("redis") else "valkey") as server:
            more = others(server.url, Rounds(), count)
        ratios, figures = ratios | more[0], figures | more[1]
    return {"bench": "queue", "ratios": ratios, "figures": figures}
