"""A collector that others wrote: rotel, from its wheel."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def rotel(folder: Path, backend: str) -> Iterator[str]:
    """Run one that forwards to a backend, for the length of a block; gives its endpoint."""
    found = importlib.util.find_spec("rotel")
    assert found is not None
    assert found.origin is not None
    grpc_port, http_port = _free_ports(2)
    command = [
        *(str(Path(found.origin).parent / "rotel-agent"), "start"),
        *("--pid-file", str(folder / "pid"), "--log-file", str(folder / "log")),
        *("--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}", "--otlp-http-endpoint", f"127.0.0.1:{http_port}"),
        *("--exporter", "otlp", "--otlp-exporter-protocol", "grpc", "--otlp-exporter-endpoint", backend),
        *("--batch-timeout", "200ms"),
    ]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield f"http://127.0.0.1:{grpc_port}"
    finally:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
