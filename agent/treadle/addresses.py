"""Addresses, as HOST:PORT."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Return whether an address stays on this machine, so that plain text is nobody else's to read."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
