"""The roster turns what agents say into what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.cluster.model import Why
from treadle_controller.leader.image import Image
from treadle_controller.leader.leader import Leader
from treadle_controller.leader.link import QueueLink
from treadle_controller.store import Store

AFTER_GRACE_S: Final = 100.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("hears", "kept"), [(False, False), (True, True), (None, True)])
def test_an_agent_that_beats_is_kept_unless_it_says_that_it_hears_nothing(
    hears: bool | None, kept: bool, tmp_path: Path
) -> None:
    clock = Clock()
    link = QueueLink(object(), term=1, redis_id="r")  # type: ignore[arg-type] # nothing is asked of it
    store, image = Store(f"sqlite:///{tmp_path}/controller.db"), Image("default")
    roster = Leader(store, image, link, name="c", last_event=0, clock=clock).roster
    clock.now = AFTER_GRACE_S
    roster.tick()
    stream = roster.hello(pb.Hello(agent="one", boot_id="b", protocol=1))
    assert not isinstance(stream, Why)

    for tenth in range(50):
        clock.now = AFTER_GRACE_S + tenth / 10
        if tenth % 10 == 0 and roster.beat(stream, stream.session):
            beat = pb.Heartbeat(sequence=tenth // 10 + 1, redis_reachable=True)
            if hears is not None:
                beat.answered = tenth // 10 if hears else 0
            roster.heartbeat(stream, beat)
        roster.tick()

    assert (image.fleet.agents["one"].liveness is Liveness.READY) is kept
