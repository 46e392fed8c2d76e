"""The function library on a server: loaded where it is missing or older, never put in the place of a newer one."""

from __future__ import annotations

import re

import pytest

from tests.queue_world import World
from tests.servers import TestServer
from treadle.errors import QueueError
from treadle.queues import library
from treadle.queues.library import Move


def versioned(number: int, serves: int) -> str:
    """Return our library as another version of it."""
    code = re.sub(r"^local VERSION = \d+$", f"local VERSION = {number}", library.source(), flags=re.MULTILINE)
    return re.sub(r"^local SERVES = \d+$", f"local SERVES = {serves}", code, flags=re.MULTILINE)


OURS = library.version_of(library.source())


def test_every_library_says_its_version() -> None:
    assert OURS.number >= OURS.serves >= 1
    assert library.version_of("#!lua name=treadle") == (0, 0)


@pytest.mark.parametrize(
    ("found", "move"),
    [
        (None, Move.LOAD),
        (library.source(), Move.NONE),
        (library.source() + "\n", Move.LOAD),
        ("#!lua name=treadle", Move.LOAD),
        (versioned(OURS.number + 1, OURS.number), Move.KEEP),
        (versioned(OURS.number + 1, OURS.number + 1), Move.REFUSE),
    ],
)
def test_a_newer_library_is_kept_or_refused_and_all_else_replaced(found: str | None, move: Move) -> None:
    assert library.decide(found, library.source()) is move


def test_an_older_controller_leaves_a_newer_library_alone(server: TestServer) -> None:
    world = World(server.url)
    try:
        assert world.do(lambda admin: admin.load_functions()) is Move.NONE
        newer = versioned(OURS.number + 1, OURS.number + 1)
        world.command("FUNCTION", "LOAD", "REPLACE", newer)

        with pytest.raises(QueueError, match="upgrade it"):
            world.do(lambda admin: admin.load_functions())
        assert world.do(lambda admin: admin.functions()) == newer

        world.command("FUNCTION", "LOAD", "REPLACE", versioned(OURS.number + 1, OURS.number))
        assert world.do(lambda admin: admin.load_functions()) is Move.KEEP
        world.command("FUNCTION", "FLUSH")
        assert world.do(lambda admin: admin.load_functions()) is Move.LOAD
    finally:
        world.stop()
