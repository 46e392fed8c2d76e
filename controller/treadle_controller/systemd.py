"""Telling systemd how we are, when it asked (sd_notify)."""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger(__name__)


class Notifier:
    """Sends states to NOTIFY_SOCKET; does nothing without one."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        watchdog = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(watchdog) / 1e6 if watchdog.isdigit() else None

    def tell(self, *states: str) -> None:
        """Send states such as READY=1 or STOPPING=1; a deaf systemd stops nobody from working."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto("\n".join(states).encode(), address)
        except OSError as exc:
            _log.warning("systemd does not listen: %s", exc)
