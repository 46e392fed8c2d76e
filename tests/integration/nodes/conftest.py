"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import sqlalchemy.exc

from tests.require import Require


def program(name: str) -> str | None:
    """Find a program of PostgreSQL: Debian keeps them off PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(installed[-1]) if installed else None)


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    pause = threading.Event()
    for _ in range(600):
        try:
            with engine.connect():
                return
        except sqlalchemy.exc.OperationalError:
            assert server.poll() is None, "PostgreSQL ended at its start"
            pause.wait(0.05)
    pytest.fail("PostgreSQL was not ready after 30 s")


@pytest.fixture(scope="session")
def postgresql(require: Require) -> Iterator[str]:
    """Run a server on a free port and return its URL."""
    initdb, postgres = program("initdb"), program("postgres")
    require(initdb and postgres, "PostgreSQL (apt-get install postgresql)")
    assert initdb is not None
    assert postgres is not None
    owner = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    with tempfile.TemporaryDirectory(prefix="treadle-pg-") as folder, socket.socket() as free:
        if owner is not None:
            shutil.chown(folder, owner)
        data = Path(folder) / "data"
        make = [initdb, "-D", str(data), "-U", "treadle", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run(make, check=True, capture_output=True, user=owner, cwd=folder)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        start = [postgres, "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(start, user=owner, cwd=folder, stdout=quiet, stderr=quiet) as server:
            url = f"postgresql+psycopg://treadle@127.0.0.1:{port}/postgres"
            try:
                wait_until_ready(url, server)
                yield url
            finally:
                server.send_signal(signal.SIGINT)  # SIGTERM would wait for whoever has left a connection open
