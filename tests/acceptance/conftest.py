"""One running cluster for the tests that need no other."""

from __future__ import annotations

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
