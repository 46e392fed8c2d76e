"""What systemd is told when it asks (NOTIFY_SOCKET): ready, status, stopping, and that we are alive."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class Notifier:
    """Speaks the sd_notify protocol; without a socket it says nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # "@": not in the file system
        watchdog_us = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(watchdog_us) / 1e6 if watchdog_us.isdigit() else None

    def notify(self, **fields: str) -> None:
        """Send fields such as READY="1" or STATUS="..."; a deaf systemd stops nobody from working."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.connect(self._address)
                end.send(text.encode())
        except OSError as exc:
            _log.warning("systemd does not listen: %s", exc)

    async def keep_alive(self) -> None:
        """Feed the watchdog from the event loop: it bites when the loop stands still."""
        while self.watchdog_s is not None:
            self.notify(WATCHDOG="1")
            await asyncio.sleep(self.watchdog_s / 3)
