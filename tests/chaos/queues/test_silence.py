"""The fault suite says "silent" of a rollback that went unnoticed, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.queues.play import Play, Script
from tests.chaos.queues.servers import log_of, lose
from tests.require import Require
from tests.servers import KINDS, binary_of, redis_server


@pytest.fixture(params=KINDS)
def play(request: pytest.FixtureRequest, tmp_path: Path, require: Require) -> Iterator[Play]:
    """Return a play in which nobody plays."""
    require(binary_of(request.param), f"a {request.param} server")
    with redis_server(request.param, aof="always", folder=tmp_path / "server") as server:
        one = Play(Script(1, 100, may_roll_back=True), server, tmp_path, "silence")
        one.stage.beat()
        yield one
        one.close()


def size_after(play: Play, key: str) -> int:
    """Write something, and return how long the log is then."""
    play.stage.command("SET", f"{play.stage.keys.prefix}{key}", "x" * 100)
    return log_of(play.server).stat().st_size


def test_what_nobody_was_told_may_be_lost_without_a_word(play: Play) -> None:
    told = size_after(play, "told")
    size = size_after(play, "untold")
    play.server.kill()

    lose(play, size, told + 3)  # in the middle of it

    assert (play.wrong, play.bites["rolled back"]) == ([], 0)
    assert play.stage.command("EXISTS", f"{play.stage.keys.prefix}untold") == 0


def test_going_back_behind_a_beat_is_noticed(play: Play) -> None:
    before = size_after(play, "before")
    play.stage.beat()
    size = size_after(play, "after")
    play.server.kill()

    lose(play, size, before)

    assert (play.wrong, play.bites["rolled back"]) == ([], 1)


def test_going_back_behind_a_beat_unnoticed_is_silent(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    before = size_after(play, "before")
    play.stage.beat()
    size = size_after(play, "after")
    play.server.kill()
    monkeypatch.setattr(play.stage, "beat", lambda: False)
    monkeypatch.setattr(play, "wait_for", lambda true: true())

    lose(play, size, before)

    assert [sentence.partition(":")[0] for sentence in play.wrong] == ["silent"]
