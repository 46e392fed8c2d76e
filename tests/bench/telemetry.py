"""What telemetry costs: work per CPU second of all processes of an agent, with telemetry over without it.

Agents without a session, each with its own supervisor, hosts and exporter, one for each way of telemetry, take turns at
the same work: a loop of three nodes that pushes nothing, and messages from loop to loop through a real server. CPU is
that of supervisor, forkserver, hosts and loop processes of that agent alone; the collector, the server and the other
agents are processes that do not count. Before and after each way the agent without telemetry does the same, and a way
is compared with the mean of these two: a machine that is slower for some seconds is slower for both. The first round
warms up and does not count.

export_on_vs_off        a collector, metrics every second, no iteration sampled
sampled_default_vs_off  the same, and the default: 1 %, at most 50 new traces a second and host
collector_dead_vs_off   the default, and nobody listens
sampled_all_vs_off      every iteration is a trace
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from tests.bench.telemetry_rig import Remote, remote
from tests.otlp import receiver
from tests.servers import binary_of, redis_server

KINDS: Final = ("loop", "queue")
WARM_UP: Final = 20  # times less work
ALL: Final = 30  # times less work where every iteration is a trace
_ROOT: Final = Path(__file__).resolve().parents[2]
_spawn = multiprocessing.get_context("spawn")

Rates = dict[str, float]  # by kind of work


def _collect(pipe: Connection) -> None:
    """Be a collector that keeps nothing, until told to stop."""
    with receiver(keep=False) as running:
        pipe.send(running.endpoint)
        pipe.recv()


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector in a process of its own."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_collect, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join(5)
        process.kill()


def nobody() -> str:
    """Return an endpoint where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def ways(endpoint: str) -> dict[str, dict[str, Any]]:
    """Return the settings of an agent for each way of telemetry."""
    return {
        "export_on": {"otlp_endpoint": endpoint, "traces": {"ratio": 0.0}},
        "sampled_default": {"otlp_endpoint": endpoint},
        "collector_dead": {"otlp_endpoint": nobody()},
        "sampled_all": {"otlp_endpoint": endpoint, "traces": {"ratio": 1.0, "per_second": 0}},
    }


def compare(url: str, endpoint: str, rounds: int, amounts: dict[str, int]) -> dict[str, list[tuple[Rates, Rates]]]:
    """Return for each way, by round, its rates, and those of the agent without telemetry around it."""
    found: dict[str, list[tuple[Rates, Rates]]] = {way: [] for way in ways(endpoint)}
    with ExitStack() as stack:
        off = stack.enter_context(remote("off", url, {}))
        rigs = {
            way: stack.enter_context(remote(way.replace("_", "-"), url, settings))
            for way, settings in ways(endpoint).items()
        }
        for number in range(-1, rounds):
            round_ = amounts if number >= 0 else {kind: amount // WARM_UP for kind, amount in amounts.items()}
            # Each begins a round in its turn, so that nobody is always the one who comes after whom.
            order = list(rigs.items())[number % len(rigs) :] + list(rigs.items())[: number % len(rigs)]
            before = _work(off, f"off-{number}", round_)
            for at, (way, rig) in enumerate(order):
                less = ALL if way == "sampled_all" else 1
                on = _work(rig, f"{way}-{number}", {kind: amount // less for kind, amount in round_.items()})
                after = _work(off, f"off-{number}-{at}", round_)
                if number >= 0:
                    # The mean of CPU seconds for the same work: rates are averaged by their inverses.
                    found[way].append((on, {k: statistics.harmonic_mean((before[k], after[k])) for k in KINDS}))
                before = after
    return found


def _work(rig: Remote, name: str, amounts: dict[str, int]) -> Rates:
    return {kind: rig.work(f"{name}-{kind}".replace("_", "-"), kind, amounts[kind]) for kind in KINDS}


def main(*, quick: bool) -> dict[str, Any]:
    """Measure."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    rounds, loops, messages = (5, 500_000, 500_000) if quick else (11, 2_000_000, 1_000_000)
    with collector() as endpoint, redis_server("redis" if binary_of("redis") else "valkey") as server:
        found = compare(server.url, endpoint, rounds, {"loop": loops, "queue": messages})
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    for way, pairs in found.items():
        of = {kind: statistics.median(on[kind] / off[kind] for on, off in pairs) for kind in KINDS}
        ratios[f"{way}_vs_off"] = round(min(of.values()), 3)
        figures |= {f"{way}_{kind}": round(ratio, 3) for kind, ratio in of.items()}
    plain = [off for pairs in found.values() for _, off in pairs]
    figures["off_loop_iterations_per_cpu_s"] = round(statistics.median(each["loop"] for each in plain))
    figures["off_queue_messages_per_cpu_s"] = round(statistics.median(each["queue"] for each in plain))
    return {"bench": "telemetry", "ratios": ratios, "figures": figures}
