"""Schedules that the long form has found to break something, kept as they were: whatever seeds mean later."""

from __future__ import annotations

import pytest

from tests.chaos.cluster.faults import Fault, Kind, Schedule
from tests.chaos.cluster.simulation import run

FOUND = {
    "the grace begins when agents can come back, however long Redis kept the controller waiting": Schedule(
        51527,
        2,
        gentle=False,
        faults=(
            Fault(12.803, Kind.CONTROLLER_CUT, 1, 3.544, 0.6053171443704614, (False, False)),
            Fault(13.366, Kind.CONTROLLER_KILLED, 0, 1.791, 0.19524145198443554, (True, False)),
            Fault(16.901, Kind.PARTITION, 0, 10.785, 0.12572970570257014, (False, True)),
        ),
    ),
    "what ran before the controller's restart is let go by its agent, not by a controller without Redis": Schedule(
        52066,
        4,
        gentle=False,
        faults=(
            Fault(4.913, Kind.CONTROLLER_KILLED, 1, 9.71, 0.7048154492010059, (True, False)),
            Fault(6.415, Kind.RESTART, 3, 2.0, 0.11042150065278367, (True, True)),
            Fault(12.154, Kind.CONTROLLER_CUT, 3, 5.773, 0.6852332612822237, (True, True)),
        ),
    ),
    "an agent that has forgotten what it let go can still say so": Schedule(
        55437,
        2,
        gentle=False,
        faults=(
            Fault(4.959, Kind.STOP, 0, 2.851, 0.47413760998965837, (True, False)),
            Fault(7.165, Kind.REDIS_CUT, 1, 2.988, 0.0857308482515936, (True, False)),
            Fault(8.187, Kind.LOST_MESSAGE, 1, 6.0, 0.26576626505478473, (True, True)),
            Fault(9.037, Kind.STOP, 1, 3.287, 0.36137685936745456, (True, True)),
        ),
    ),
    "an agent that comes back is not starved by what it said before it was away": Schedule(
        203775,
        3,
        gentle=False,
        faults=(
            Fault(9.047, Kind.STARVED, 0, 15.869, 0.24095119917918706, (False, True)),
            Fault(17.482, Kind.PARTITION, 0, 8.915, 0.017492842859731295, (True, True)),
        ),
    ),
    "a controller that was paused reads what agents say of their Redis before it judges them": Schedule(
        5286,
        4,
        gentle=False,
        faults=(
            Fault(6.331, Kind.REDIS_CUT, 1, 7.6, 0.25273226727515163, (True, True)),
            Fault(14.001, Kind.CONTROLLER_FROZEN, 3, 4.976, 0.6412428342469645, (True, False)),
        ),
    ),
    "a full set that is lost is noticed with the next heartbeat": Schedule(
        58322,
        4,
        gentle=False,
        faults=(
            Fault(12.889, Kind.PARTITION, 1, 7.243, 0.18742678266310975, (False, True)),
            Fault(17.785, Kind.LOST_MESSAGE, 1, 6.0, 0.7990758801713045, (True, True)),
        ),
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_stays_mended(what: str) -> None:
    outcome = run(FOUND[what])
    assert not outcome.breaches, outcome
