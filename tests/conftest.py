"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.require import Require

pytest_plugins = ["pytester"]
pytest.register_assert_rewrite("tests.integration.agent.play")

# Time on a shared machine says nothing about the code; CI tries the same examples every time.
settings.register_profile(
    "treadle", deadline=None, derandomize=os.environ.get("CI") == "true", suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("treadle")

_REQUIRE = pytest.StashKey[Require]()


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what it puts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the programs that tests interrupt inherit it
    config.stash[_REQUIRE] = Require(in_ci=os.environ.get("CI") == "true")


def pytest_runtest_setup(item: pytest.Item) -> None:
    require = item.config.stash[_REQUIRE]
    for mark in item.iter_markers("requires"):
        for name in mark.args:
            if name == "root":
                require.root()
            else:
                require.program(name)


@pytest.fixture(scope="session")
def require(pytestconfig: pytest.Config) -> Require:
    """Return what a test calls to say what it cannot do without."""
    return pytestconfig.stash[_REQUIRE]
