"""One running cluster for the tests that need no other."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.acceptance.running import Dev, dev


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Return a `wfctl dev` without workflows, shared; it has to stop cleanly at the end."""
    with dev(tmp_path_factory.mktemp("cluster"), "--agents", "2") as running:
        assert running.address
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="session", autouse=True)
def no_configuration_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the commands that run in this process away from the configuration and environment of whoever tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in [name for name in os.environ if name.startswith(("WF_", "TREADLE_"))]:
            patch.delenv(name)
        yield
