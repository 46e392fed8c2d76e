"""The server that comes with treadle: quick, private, durable, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from tests.queue_world import eventually
from tests.servers import binary_of
from treadle.errors import QueueError
from treadle.queues.embedded import EmbeddedServer, find_binary, server_version


def test_it_keeps_what_was_written_over_a_restart_and_shows_its_password_to_nobody(tmp_path: Path, kind: str) -> None:
    server = EmbeddedServer(tmp_path, binary=binary_of(kind))
    server.start()
    try:
        client = redis.Redis.from_url(server.url)
        client.set("a", "1")
        client.close()
        arguments = " ".join(psutil.Process(server.pid).cmdline())
        assert server.password not in arguments
        assert not any(server.password.encode() in f.read_bytes() for f in tmp_path.iterdir() if f.is_file())
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)).ping()
        server.stop()
        assert server.pid is None

        server.start()

        again = redis.Redis.from_url(server.url)
        assert again.get("a") == b"1"
        assert again.config_get("appendfsync")["appendfsync"] == "always"
        again.close()
    finally:
        server.stop()


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from treadle.queues.embedded import EmbeddedServer\n"
        "server = EmbeddedServer(sys.argv[1])\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    env = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)

    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_it_starts_from_the_main_thread_only_for_it_dies_with_the_thread(tmp_path: Path) -> None:
    caught: list[str] = []

    def start() -> None:
        try:
            EmbeddedServer(tmp_path).start()
        except QueueError as exc:
            caught.append(exc.message)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in caught[0]


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, fsync="nonsense")
    with pytest.raises(QueueError, match="did not start"):
        server.start()
    assert server.pid is None


def test_the_binary_found_is_new_enough() -> None:
    version = server_version(find_binary())
    assert version is not None
    assert version[1] >= (7, 0)


def test_its_users_have_passwords_of_their_own_and_their_rights_only(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, users={"reader": ["reset", "on", "~a*", "+get"]})
    server.start()
    try:
        with redis.Redis.from_url(server.url_of("reader")) as client:
            assert client.get("a1") is None
            with pytest.raises(NoPermissionError):
                client.set("a1", 1)
        assert server.url_of("reader") not in Path(f"/proc/{server.pid}/cmdline").read_text()
    finally:
        server.stop()
