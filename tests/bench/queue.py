"""Messages from loop to loop through a real server, every message one iteration and one transaction.

Two processes (three with a transform between), the product's LoopManager and tenures, dict payloads of 200 bytes,
nothing on disk. Against the same server in the same run: redis-py one message at a time, and redis-benchmark, which
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


def transform(url: str, count: int) -> float:
    """Return messages per second of a loop that pops, pushes on and commits, its queue filled before."""
    fill = plan("source", read=None, uses="bench.source", write="in", params={"count": count})
    chain(url, "transform", [fill], count)
    return chain(url, "transform", [plan("middle", read="in", uses="bench.pass", write="out")], count)[0]


def latency(url: str, count: int, rate: float) -> list[float]:
    """Return how long messages took from loop to loop, in ms."""
    plans = [
        plan("source", read=None, uses="bench.source", write="q", params={"count": count, "rate": rate}),
        plan("sink", read="q", uses="bench.sink", write=None),
    ]
    _, reports = chain(url, "latency", plans, count)
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


def killed(url: str) -> tuple[int, int]:
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


def others(url: str, rate: float) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure the peers; return ratios and figures."""
    rates, kills = queue_others.rates(url), {"treadle": killed(url), **queue_others.kills(url)}
    by_hand = rates.pop("streams")
    ratios = {
        "vs_best_peer": round(rate / max(rates.values()), 1),
        "vs_hand_written_batches": round(rate / by_hand, 1),
    }
    figures: dict[str, Any] = {f"{name}_per_s": round(each) for name, each in rates.items()}
    figures["hand_written_batches_per_s"] = round(by_hand)
    figures |= {f"killed_{name}": f"{lost} lost, {doubled} doubled" for name, (lost, doubled) in kills.items()}
    return ratios, figures


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100)[percent - 1]


def main(*, quick: bool) -> dict[str, Any]:
    """Run it."""
    count, rounds = (400_000, 2) if quick else (1_500_000, 3)
    with redis_server("redis" if binary_of("redis") else "valkey") as server:
        url = server.url
        rates = [throughput(url, count, f"throughput-{n}") for n in range(rounds)]
        rate, cpu_us = max(rates)
        moved = transform(url, count // 2)
        pipelined = queue_peers.xadd_pipelined(url, count)
        by_hand = one_by_one(url, 2.0)
        samples = 600 if quick else 4000
        delays, peer_delays = latency(url, samples, 200), brpop_latency(url, samples, 200)
    with redis_server("redis" if binary_of("redis") else "valkey", aof="always") as server:
        durable, _ = throughput(server.url, count // 4, "durable")
    ratios = {
        "vs_redis_py_one_by_one": round(rate / by_hand, 1),
        "latency_p50_vs_brpop": round(percentile(delays, 50) / percentile(peer_delays, 50), 2),
        "fsync_always_vs_none": round(durable / rate, 2),
    }
    figures = {
        "messages_per_s": round(rate),
        "client_cpu_us_per_message": round(cpu_us, 2),
        "transform_per_s": round(moved),
        "fsync_always_per_s": round(durable),
        "redis_py_one_by_one_per_s": round(by_hand),
        "latency_p50_ms": round(percentile(delays, 50), 3),
        "latency_p99_ms": round(percentile(delays, 99), 3),
        "brpop_p50_ms": round(percentile(peer_delays, 50), 3),
        "brpop_p99_ms": round(percentile(peer_delays, 99), 3),
    }
    if pipelined is not None:
        ratios["vs_xadd_pipelined"] = round(rate / pipelined, 2)
        ratios["transform_vs_xadd_pipelined"] = round(moved / pipelined, 2)
        figures["xadd_pipelined_per_s"] = round(pipelined)
    if not quick:
        with redis_server("redis" if binary_of("redis") else "valkey") as server:
            more = others(server.url, rate)
        ratios, figures = ratios | more[0], figures | more[1]
    return {"bench": "queue", "ratios": ratios, "figures": figures}
