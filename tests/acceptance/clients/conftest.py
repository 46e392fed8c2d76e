"""One cluster behind TLS for all clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.clients.npm import node_client
from tests.acceptance.clients.secured_cluster import SecuredCluster, secured_cluster
from tests.require import Require


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredCluster]:
    """Return a cluster that only those with a certificate may use."""
    with secured_cluster(tmp_path_factory.mktemp("secured")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def node(require: Require) -> Path:
    """Return the folder of the JavaScript client, with everything that it needs."""
    return node_client(require)
