"""host.metrics: samples the machine that the agent runs on."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from pydantic import Field

from treadle.data import Idle
from treadle.node import Params, ProducerNode

_SHORTEST: Final = 0.05  # seconds between two samples: rates over less are noise


class HostMetricsParams(Params):
    """What to look at besides processors, memory and network."""

    disk: str = Field("/", description="A path on the file system whose space is reported.")
    per_cpu: bool = Field(default=True, description="Report each processor as well.")


class HostMetrics(ProducerNode[HostMetricsParams]):
    """Emits this machine's processor, memory, swap, disk and network figures, one sample a call.

    How often is the loop's `interval`. Percentages are 0 to 100, sizes bytes, rates bytes per second since the last
    sample; `time` is in seconds since the epoch. What the machine does not tell is null.
    """

    uses = "host.metrics"

    def open(self) -> None:
        import psutil  # noqa: PLC0415 - heavy

        self._psutil: Any = psutil
        self._host = socket.gethostname()
        self._before = self._counters()

    def execute(self) -> dict[str, Any] | Idle:
        elapsed = self.context.now() - self._before["time"]
        if elapsed < 0:  # the clock was set back: start again
            self._before = self._counters()
            return Idle(after=_SHORTEST)
        if elapsed < _SHORTEST:
            return Idle(after=_SHORTEST - elapsed)
        before, self._before = self._before, self._counters()
        return {
            "time": self._before["time"],
            "host": self._host,
            "cpu": self._cpu(before),
            "memory": self._memory(),
            "swap": _fields(self._psutil.swap_memory(), "total", "used", "percent"),
            "disk": {**self._space(), **self._rates(before, "disk", read="read_bytes", written="write_bytes")},
            "network": self._rates(before, "network", sent="bytes_sent", received="bytes_recv"),
        }

    def _counters(self) -> dict[str, Any]:
        return {
            "time": self.context.now(),
            "cpu": [_busy(times) for times in self._psutil.cpu_times(percpu=True)],
            "disk": _if_told(self._psutil.disk_io_counters),
            "network": _if_told(self._psutil.net_io_counters),
        }

    def _cpu(self, before: dict[str, Any]) -> dict[str, Any]:
        cores = [_percent(*pair) for pair in zip(before["cpu"], self._before["cpu"], strict=False)]
        load = self._psutil.getloadavg()
        found = {"percent": round(sum(cores) / len(cores), 1), "count": len(cores), "load": [round(x, 2) for x in load]}
        return {**found, "each": [round(x, 1) for x in cores]} if self.params.per_cpu else found

    def _memory(self) -> dict[str, Any]:
        return _fields(self._psutil.virtual_memory(), "total", "used", "available", "percent")

    def _space(self) -> dict[str, Any]:
        usage = self._psutil.disk_usage(self.params.disk)
        return {"path": self.params.disk, **_fields(usage, "total", "used", "free", "percent")}

    def _rates(self, before: dict[str, Any], what: str, **names: str) -> dict[str, Any]:
        old, new = before[what], self._before[what]
        elapsed = self._before["time"] - before["time"]
        if old is None or new is None or elapsed <= 0:
            return dict.fromkeys((f"{name}_per_s" for name in names), None)
        changes = {name: getattr(new, counter) - getattr(old, counter) for name, counter in names.items()}
        return {f"{name}_per_s": round(max(change, 0) / elapsed, 1) for name, change in changes.items()}


def _if_told(counters: Callable[[], Any]) -> Any:
    try:
        return counters()
    except (OSError, RuntimeError):  # a container may not have the files
        return None


def _busy(times: Any) -> tuple[float, float]:
    """Return the seconds that a processor was busy, and all its seconds (guests count in user already)."""
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _percent(before: tuple[float, float], after: tuple[float, float]) -> float:
    total = after[1] - before[1]
    return min(max(100.0 * (after[0] - before[0]) / total, 0.0), 100.0) if total > 0 else 0.0


def _fields(source: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(source, name) for name in names}
