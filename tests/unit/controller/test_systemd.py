"""What systemd is told by the controller."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from treadle_controller.systemd import Notifier


def test_a_systemd_that_has_gone_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        Notifier().tell("READY=1")
        assert systemd.recv(100) == b"READY=1"

    Notifier().tell("STOPPING=1")  # its socket is still there, and nobody behind it
