"""The whole suite once more, with its loops in the agent's own pool hosts."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.loops.conftest import Rig
from tests.conformance.loops.hosted import Nursery, make_rig, start_nursery

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def nursery(server_url: str) -> Iterator[Nursery]:
    yield from start_nursery(server_url)


# A loop in a thread and one in a process of its own live the same life: one style each.
@pytest.fixture(params=["thread-sync", "process-async", "asyncio-sync", "asyncio-async"])
def rig(request: pytest.FixtureRequest, nursery: Nursery, server_url: str, tmp_path: Path) -> Iterator[Rig]:
    role, style = request.param.split("-")
    yield from make_rig(nursery, server_url, role, style, tmp_path)


@pytest.fixture
def redis_rig(nursery: Nursery, server_url: str, tmp_path: Path) -> Iterator[Rig]:
    yield from make_rig(nursery, server_url, "thread", "sync", tmp_path)


def suite() -> dict[str, Any]:
    """Return every test of the suite that takes its loops from a rig."""
    files = (file for file in sorted(HERE.glob("test_*.py")) if not file.stem.startswith("test_hosted"))
    modules = [importlib.import_module(f"tests.conformance.loops.{file.stem}") for file in files]
    tests = {name: test for module in modules for name, test in vars(module).items() if name.startswith("test_")}
    return {
        name: test for name, test in tests.items() if {"rig", "redis_rig"} & inspect.signature(test).parameters.keys()
    }


globals().update(suite())
