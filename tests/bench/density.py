"""Many idle loops on one agent: what each weighs, what all cost while they wait, and how soon one wakes.

The agent's own thread host and asyncio host, children of its forkserver. Each loop waits on a queue of its own;
ten of them get a message each second, which says when it was sent.

thread_kib_per_loop, asyncio_kib_per_loop  growth of the host's PSS, divided by the loops
asyncio_idle_cpu_percent                   CPU of the asyncio host while ten loops a second wake, of one core
wake_p99_ms                                from the push to the node, over both hosts
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import statistics
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.servers import binary_of, redis_server
from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import encode_item
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import Input, Plan, Step
from treadle_agent.frames import Address, Assign, Began, Ended, FromChild, QueueUse
from treadle_agent.setup import Role
from treadle_agent.supervisor.child import Child, Listener
from treadle_agent.supervisor.hosts import Hosts, Template
from treadle_agent.supervisor.spawner import Spawner

NAMESPACE: Final = "density"
WAKES_PER_S: Final = 10
PATIENCE_S: Final = 120.0
_AT_ONCE: Final = 1000
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ROOT: Final = Path(__file__).resolve().parents[2]


class Crowd:
    """The loops of one host."""

    def __init__(self, role: Role, child: Child, port: int) -> None:
        self.role = role
        self.child = child
        self.size = 0
        self._port = port
        self._begun = 0
        self._ended: Ended | None = None
        self._news = asyncio.Event()

    def queue(self, n: int) -> str:
        """Return the queue of a loop."""
        return f"{self.role}-{n}"

    def hear(self, frame: FromChild) -> None:
        """Count the loops that have begun, and note one that ends."""
        if isinstance(frame, Ended):
            self._ended = frame
        elif isinstance(frame, Began):
            self._begun += 1
        self._news.set()

    async def grow(self, admin: QueueAdmin, size: int) -> None:
        """Start loops until there are so many. Raises RuntimeError when one ends."""
        while self.size < size:
            new = range(self.size, min(size, self.size + _AT_ONCE))
            keys = [LoopKey("density", self.queue(n)) for n in new]
            await admin.assign([(key, 1) for key in keys], 1)
            for n, key in zip(new, keys, strict=True):
                self.child.send(self._assign(n, key))
            self.size += len(keys)
            async with asyncio.timeout(PATIENCE_S):
                while self._begun < self.size:
                    self._news.clear()
                    await self._news.wait()
                    if self._ended is not None:
                        message = f"a loop of the benchmark ended as {self._ended}"
                        raise RuntimeError(message)

    def _assign(self, n: int, key: LoopKey) -> Assign:
        queue, uses = self.queue(n), f"density.{self.role}"
        steps = (
            Step("reader", "queue-reader", queues=(queue,)),
            Step("node", "blocking", uses=uses, params={"port": self._port}, inputs=(Input(0, None, "in"),)),
        )
        return Assign(
            run=n + 1,
            slot=n + 1,
            address=Address(NAMESPACE, key),
            redis_id="",
            epoch=1,
            revision=1,
            plan=msgspec.json.encode(Plan("density", key.loop, steps, digest="")),
            queues=[QueueUse(queue, never_ends=True)],
            sources={uses: "tests.bench.density_nodes"},
        )

    def pss_kib(self) -> int:
        """Return the memory of the host, pages that it shares divided by those who share them."""
        lines = Path(f"/proc/{self.child.pid}/smaps_rollup").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    def cpu_s(self) -> float:
        """Return the CPU seconds that the host has used."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class Delays(asyncio.DatagramProtocol):
    """What woken loops tell."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self.news = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take one in."""
        self.ms.append(int.from_bytes(data, "big") / 1e6)
        self.news.set()


async def measure(crowd: Crowd, admin: QueueAdmin, size: int, seconds: float, delays: Delays) -> tuple[float, float]:
    """Return KiB per loop, and the percentage of a core that the host uses while loops wake."""
    await crowd.grow(admin, 1)  # whatever the first one brings along, the others share
    before = crowd.pss_kib()
    await crowd.grow(admin, size)
    kib = (crowd.pss_kib() - before) / (size - 1)
    chance = random.Random(7)
    await asyncio.sleep(2)  # what the start has left over
    began, used, due, told = time.monotonic(), crowd.cpu_s(), time.monotonic(), len(delays.ms)
    wakes = int(seconds * WAKES_PER_S)
    for _ in range(wakes):
        item = encode_item({"sent": time.monotonic_ns()})
        await admin.push(crowd.queue(chance.randrange(size)), [item])
        due += 1 / WAKES_PER_S
        await asyncio.sleep(due - time.monotonic())
    percent = (crowd.cpu_s() - used) / (time.monotonic() - began) * 100
    async with asyncio.timeout(PATIENCE_S):
        while len(delays.ms) - told < wakes:
            delays.news.clear()
            await delays.news.wait()
    return kib, percent


async def run(url: str, hosts: Hosts, crowds: dict[Child, Crowd], sizes: dict[Role, int], seconds: float) -> Any:
    """Measure one host after the other; return the figures of each, and all delays in ms."""
    loop = asyncio.get_running_loop()
    transport, delays = await loop.create_datagram_endpoint(Delays, ("127.0.0.1", 0), family=socket.AF_INET)
    port = transport.get_extra_info("sockname")[1]
    await hosts.start()
    hosts.start_shared()
    found = {}
    try:
        async with QueueAdmin(url, NAMESPACE) as admin:
            await admin.load_functions()
            await admin.namespace_id()
            for role, size in sizes.items():
                child = hosts.shared(role)
                if child is None:
                    message = f"the {role} host did not start"
                    raise RuntimeError(message)
                crowd = crowds[child] = Crowd(role, child, port)
                found[role] = await measure(crowd, admin, size, seconds, delays)
    finally:
        await hosts.stop()
        transport.close()
    return found, delays.ms


def main(*, quick: bool) -> dict[str, Any]:
    """Run it."""
    sizes: dict[Role, int] = {"thread": 1000, "asyncio": 10_000}
    crowds: dict[Child, Crowd] = {}

    def hear(child: Child, frame: FromChild) -> None:
        if child in crowds:
            crowds[child].hear(frame)

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    spawner = Spawner()
    spawner.launch()
    with redis_server("redis" if binary_of("redis") else "valkey") as server:
        template = Template("density", server.url, "warning")
        hosts = Hosts(template, spawner, Listener(hear, lambda *_: None, lambda *_: None), lambda _: None)
        found, delays = asyncio.run(run(server.url, hosts, crowds, sizes, 8 if quick else 60))
    return {
        "bench": "density",
        "ratios": {},
        "figures": {
            "thread_kib_per_loop": round(found["thread"][0], 1),
            "asyncio_kib_per_loop": round(found["asyncio"][0], 1),
            "asyncio_idle_cpu_percent": round(found["asyncio"][1], 1),
            "thread_idle_cpu_percent": round(found["thread"][1], 1),
            "wake_p50_ms": round(statistics.median(delays), 2),
            "wake_p99_ms": round(statistics.quantiles(delays, n=100)[98], 2),
        },
    }
