from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from treadle_agent.systemd import Notifier


def test_systemd_hears_what_it_asked_for(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        Notifier({"NOTIFY_SOCKET": address}).notify(READY="1", STATUS="running")

        assert systemd.recv(100) == b"READY=1\nSTATUS=running"


def test_the_watchdog_is_fed_from_the_event_loop(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000"})

        async def feed() -> None:
            task = asyncio.create_task(notifier.keep_alive())
            for _ in range(3):
                assert await asyncio.to_thread(systemd.recv, 100) == b"WATCHDOG=1"
            task.cancel()

        asyncio.run(feed())


def test_without_systemd_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.notify(READY="1")
    asyncio.run(notifier.keep_alive())

    assert notifier.watchdog_s is None


def test_a_deaf_systemd_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).notify(READY="1")

    assert "systemd does not listen" in caplog.text
