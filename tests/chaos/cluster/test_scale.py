"""The same simulation with a large fleet: everything is placed, everybody comes back, nothing moves without need."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.cluster.documents import many
from tests.chaos.cluster.faults import Schedule
from tests.chaos.cluster.hosts import Pace
from tests.chaos.cluster.simulation import Cluster, Command
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.leader.portions import MOST

_PER_WORKFLOW = 10_000  # the most that a document may hold
_BACK_S = 10.0
_PATIENCE_S = 120.0


class Fleet:
    """A cluster of many agents whose loops commit once."""

    def __init__(self, agents: int, loops: int) -> None:
        self.loops = loops
        schedule = Schedule(seed=1, agents=agents, gentle=True, faults=())
        self.cluster = Cluster(schedule, pace=Pace(commit_s=0.0), slots=4 * loops // agents, portion=MOST)
        self.cluster.start_controller()
        for seat in self.cluster.seats:
            self.cluster.world.call_later(3.0 * seat.chance.random(), seat.start)
        self.cluster.clockwork.run(4.0)
        for at in range(0, loops, _PER_WORKFLOW):
            name = f"w{at // _PER_WORKFLOW}"
            self.cluster.ask(name, f"apply {name}", _applying(name, many(name, min(_PER_WORKFLOW, loops - at))))

    def until(self, condition: Callable[[], bool]) -> float:
        """Let time pass until a condition holds; returns how much."""
        began = self.cluster.clockwork.now
        while not condition():
            assert self.cluster.clockwork.now < began + _PATIENCE_S
            self.cluster.clockwork.run(self.cluster.clockwork.now + 0.25)
        return self.cluster.clockwork.now - began

    def all_run(self) -> bool:
        return len(self.cluster.runs()) == self.loops and self.cluster.watch.commits >= self.loops

    def all_are_back(self) -> bool:
        controller = self.cluster.controller
        if controller is None or controller.leader is None:
            return False
        agents = controller.leader.image.fleet.agents.values()
        there = sum(1 for seat in self.cluster.seats if seat.process is not None)
        return sum(1 for agent in agents if agent.liveness is Liveness.READY) == there


def _applying(name: str, document: bytes) -> Command:
    return lambda controller: controller.api.applying.apply(document, name, actor="people")


def test_a_fleet_comes_back_to_a_new_controller_and_nothing_moves(minutes: float) -> None:
    fleet = Fleet(agents=5_000, loops=100_000) if minutes else Fleet(agents=300, loops=600)
    cluster = fleet.cluster
    try:
        fleet.until(fleet.all_run)
        starts = len(cluster.watch.starts)
        cluster.kill_controller()
        cluster.clockwork.run(cluster.clockwork.now + 12.0)
        cluster.start_controller()
        assert fleet.until(fleet.all_are_back) <= _BACK_S
        cluster.clockwork.run(cluster.clockwork.now + 12.0)
        assert (len(cluster.watch.starts), cluster.watch.lost) == (starts, 0)
        assert cluster.watch.breaches == []
    finally:
        cluster.end()


def test_what_a_tenth_of_the_fleet_ran_is_placed_elsewhere(minutes: float) -> None:
    fleet = Fleet(agents=5_000, loops=100_000) if minutes else Fleet(agents=100, loops=500)
    cluster = fleet.cluster
    try:
        fleet.until(fleet.all_run)
        cluster.clockwork.run(20.0)
        gone = cluster.seats[::10]
        lost = sum(len(process.machine.runs) for seat in gone for process in seat.processes)
        starts = len(cluster.watch.starts)
        for seat in gone:
            seat.kill(silently=False)
        fleet.until(fleet.all_run)
        cluster.clockwork.run(cluster.clockwork.now + 5.0)
        assert len(cluster.watch.starts) == starts + lost
        assert cluster.watch.lost == len(gone)
        assert cluster.watch.breaches == []
    finally:
        cluster.end()


@pytest.mark.parametrize("agents", [3])
def test_loops_are_spread_evenly(agents: int) -> None:
    fleet = Fleet(agents=agents, loops=300)
    try:
        fleet.until(fleet.all_run)
        counts = [len(process.machine.runs) for seat in fleet.cluster.seats for process in seat.processes]
        assert max(counts) - min(counts) <= 1
    finally:
        fleet.cluster.end()
