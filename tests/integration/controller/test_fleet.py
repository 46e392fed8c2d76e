"""A thousand agents with real sessions; how quickly they are back is measured by `make bench BENCH=control`."""

from __future__ import annotations

import pytest

from tests.bench import control_return
from tests.integration.controller.world import ControllerProcess
from treadle_controller.cluster.sessions import SessionSettings

SETTINGS = SessionSettings()


@pytest.mark.timeout(180)
def test_a_thousand_agents_come_back_to_a_killed_controller_none_is_lost_and_no_loop_moves(
    controller: ControllerProcess,
) -> None:
    found = control_return.play(controller)

    if found.seconds > SETTINGS.grace_s + SETTINGS.lease_intervals * SETTINGS.least_interval_s:
        pytest.skip(f"this machine took {found.seconds:.1f} s for a thousand connections: some were lost by right")
    assert (found.ready, found.lost) == (control_return.AGENTS, 0)
    assert (found.given, found.taken) == (0, 0)
