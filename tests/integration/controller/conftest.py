"""A Redis for all tests here, a namespace's worth of it and a controller for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.controller.world import ControllerProcess
from tests.servers import TestServer, redis_server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def valkey() -> Iterator[TestServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def controller(tmp_path: Path, valkey: TestServer) -> Iterator[ControllerProcess]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    process = ControllerProcess(tmp_path, valkey.url)
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.log(), process.log()
