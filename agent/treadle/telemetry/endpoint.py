"""Where telemetry is sent, as people write it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

ENDPOINT_FORM: Final = "http://HOST:PORT, or https:// for TLS; OTLP over gRPC is on port 4317"


def is_endpoint(text: str) -> bool:
    """Tell whether a text is the address of a collector."""
    parts = urlsplit(text)
    try:
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        return False
    return complete and parts.path in ("", "/") and parts.username is None
