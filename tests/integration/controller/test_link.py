"""A server that went back or was restarted is found out, however quickly it was there again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.require import Require
from tests.servers import KINDS, TestServer, binary_of, redis_server
from treadle.queues.admin import QueueAdmin
from treadle_controller.leader.link import QueueLink


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path, require: Require) -> Iterator[TestServer]:
    require(binary_of(request.param), f"a {request.param} server")
    with redis_server(request.param, aof="always", folder=tmp_path / "server") as one:
        yield one


class Told:
    """What a link tells its owner."""

    def __init__(self, link: QueueLink) -> None:
        self.ups: list[str] = []
        self.notices: list[str] = []
        link.on_up = self.ups.append
        link.on_notice = lambda code, _: self.notices.append(code)


@asynccontextmanager
async def linked(server: TestServer, beat: int = 0) -> AsyncIterator[tuple[QueueLink, Told]]:
    """Yield a link that has met the server."""
    async with QueueAdmin(server.url, "default") as admin:
        link = QueueLink(admin, term=1, redis_id="", beat=beat)
        told = Told(link)
        await link.start()
        yield link, told


def go_back(server: TestServer, kept: Path) -> None:
    """Kill the server and start it with what was kept, sooner than anybody has called it."""
    server.kill()
    server.put_back(kept)
    server.start()


async def test_a_server_that_went_back_behind_a_single_beat_is_found_out(server: TestServer) -> None:
    async with linked(server) as (link, told):
        kept = server.keep()
        await link.run_once()
        go_back(server, kept)

        await link.run_once()

        assert [bool(renewed) for renewed in told.ups] == [False, True]
        assert "earlier moment" in told.ups[-1]
        await link.run_once()
        assert (len(told.ups), link.up, link.renewals) == (2, True, 1)


async def test_a_beat_that_comes_again_on_a_living_connection_is_said_once(server: TestServer) -> None:
    async with linked(server) as (link, told):
        await link.run_once()
        await link.admin.command("HINCRBY", link.admin.keys.meta, "beat", -1)

        for _ in range(3):
            await link.run_once()

        assert [bool(renewed) for renewed in told.ups] == [False, True]


async def test_a_beat_that_the_store_remembers_may_not_come_again(server: TestServer) -> None:
    async with linked(server) as (link, _):
        last = link.beat
        await link.admin.command("HINCRBY", link.admin.keys.meta, "beat", -1)

    async with linked(server, beat=last) as (_, told):
        assert "earlier moment" in told.ups[0]


async def test_a_restart_between_two_beats_has_the_log_written_anew(server: TestServer) -> None:
    async with linked(server) as (link, told):
        before = told.notices.count("redis-log-rewritten")
        server.kill()
        server.start()

        await link.run_once()

        assert (before, told.notices.count("redis-log-rewritten")) == (1, 2)
        assert told.ups == ["", ""]
        await link.run_once()
        assert told.ups == ["", ""]
