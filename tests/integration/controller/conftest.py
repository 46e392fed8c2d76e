"""A Redis for all tests here, a namespace's worth of it and a controller for each; and one event loop.

grpc.aio hands its events to loops that were closed before, so all tests of this folder share one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.controller.world import ControllerProcess
from tests.servers import TestServer, redis_server

_RUNNER = pytest.StashKey[asyncio.Runner]()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    runner = pyfuncitem.session.stash.setdefault(_RUNNER, asyncio.Runner())
    names = pyfuncitem._fixtureinfo.argnames
    try:
        runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    except Exception as exc:
        if isinstance(process := pyfuncitem.funcargs.get("controller"), ControllerProcess):
            exc.add_note(process.log())
        raise
    return True


@pytest.fixture(scope="session", autouse=True)
def _event_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    runner = request.session.stash.get(_RUNNER, None)
    if runner is not None:
        runner.close()


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
