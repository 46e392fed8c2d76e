"""Telling systemd how we are, when it asked (sd_notify)."""

from __future__ import annotations

import os
import socket


class Notifier:
    """Sends states to NOTIFY_SOCKET; does nothing without one."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        watchdog = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(watchdog) / 1e6 if watchdog.isdigit() else None

    def tell(self, *states: str) -> None:
        """Send states such as READY=1, STATUS=..., STOPPING=1 or WATCHDOG=1."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto("\n".join(states).encode(), address)
