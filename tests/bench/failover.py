"""How long a loop pauses when something dies: from the fault to the next commit of the same loop, as Redis shows it.

kill_process_max_s   its process is killed with -9: the supervisor incarnates it on the same agent
kill_agent_max_s     its agent's process is killed with -9: held for a second, then placed on another host
link_loss_max_s      its agent's host loses its link without a word (needs root: hosts are network namespaces)

Three agents, one controller, one Redis. The full run adds p50 and p99 of 100 faults each.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from typing import Any, Final

from tests.chaos.cluster_net.net import is_possible
from tests.chaos.cluster_net.world import FEED, World, document, world
from treadle_agent.supervisor.restart import HOST_WINDOW_S, OUTSIDE_BURST

_QUICK: Final = {"kill_process": 20, "kill_agent": 5, "link_loss": 3}
_FULL: Final = {"kill_process": 100, "kill_agent": 100, "link_loss": 100}


def main(*, quick: bool) -> dict[str, Any]:
    """Measure all three; without root the link stays whole, and its figures are left out."""
    times = _QUICK if quick else _FULL
    with world(net=is_possible()) as cluster:
        cluster.apply(document(pool="process"))
        cluster.until_commits(FEED)
        took = {"kill_process": [_kill_process(cluster) for _ in range(times["kill_process"])]}
        cluster.outlast_grace()
        took["kill_agent"] = [_kill_agent(cluster) for _ in range(times["kill_agent"])]
        if cluster.net is not None:
            took["link_loss"] = [_lose_link(cluster) for _ in range(times["link_loss"])]
    figures: dict[str, Any] = {}
    for name, values in took.items():
        figures[f"{name}_max_s"] = round(max(values), 3)
        figures[f"{name}_n"] = len(values)
        if not quick:
            figures[f"{name}_p50_s"] = round(statistics.median(values), 3)
            figures[f"{name}_p99_s"] = round(statistics.quantiles(values, n=100)[98], 3)
    return {"bench": "failover", "ratios": {}, "figures": figures}


def _kill_process(cluster: World) -> float:
    def process() -> int:
        loop = next(one for one in cluster.workflow().loops if one.name == FEED.loop)
        status = loop.instances[0].status
        return status.process_id if status.incarnation == cluster.tenure(FEED)[1] else 0

    pid = cluster.until(process, "the agent tells its loop's process")
    # One that dies more often than this is held back for a second: another thing than what is measured here.
    time.sleep(HOST_WINDOW_S / OUTSIDE_BURST)
    return cluster.next_commit_s(FEED, lambda: os.kill(pid, signal.SIGKILL))


def _kill_agent(cluster: World) -> float:
    holder = cluster.holder(FEED)
    cluster.until(lambda: len(cluster.ready()) > 1, "there is another agent")
    took = cluster.next_commit_s(FEED, lambda: cluster.kill(holder))
    cluster.start_agent(holder)
    return took


def _lose_link(cluster: World) -> float:
    if cluster.net is None:
        raise AssertionError("hosts of their own are needed")
    cluster.until(lambda: len(cluster.ready()) > 1, "there is another agent")
    holder, net = cluster.holder(FEED), cluster.net
    took = cluster.next_commit_s(FEED, lambda: net.cut(holder))
    net.heal(holder)
    return took
