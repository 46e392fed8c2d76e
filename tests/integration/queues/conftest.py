"""A server of each kind for all tests here, and a namespace of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.queue_world import World
from tests.require import Require
from tests.servers import KINDS, TestServer, binary_of, redis_server


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest, require: Require) -> str:
    """Return a kind of server that this machine has."""
    name: str = request.param
    require(binary_of(name), f"a {name} server")
    return name


@pytest.fixture(scope="session")
def shared_server(kind: str) -> Iterator[TestServer]:
    """Return a server that no test may harm."""
    with redis_server(kind) as server:
        yield server


@pytest.fixture
def world(shared_server: TestServer) -> Iterator[World]:
    """Return a namespace on the shared server."""
    one = World(shared_server.url)
    yield one
    one.stop()


@pytest.fixture
def server(kind: str, tmp_path: Path) -> Iterator[TestServer]:
    """Return a server with fsync at every write that a test may kill, starve and restart."""
    with redis_server(kind, aof="always", folder=tmp_path / "server") as one:
        yield one
