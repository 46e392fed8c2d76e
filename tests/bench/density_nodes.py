"""The nodes of the density benchmark, as a module of a user offers them to an agent."""

from __future__ import annotations

import socket
import time

from treadle import BlockingNode, NodeData, Params


class NoteParams(Params):
    """Where delays are sent to, as datagrams on this machine."""

    port: int


def _note(port: int, data: NodeData) -> None:
    delay = time.monotonic_ns() - data["sent"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(delay.to_bytes(8, "big"), ("127.0.0.1", port))


class NoteCalled(BlockingNode[NoteParams]):
    """Tells how long a message was on its way."""

    uses = "density.thread"

    def execute(self, data: NodeData) -> None:
        _note(self.params.port, data)


class NoteAwaited(BlockingNode[NoteParams]):
    """Tells how long a message was on its way."""

    uses = "density.asyncio"

    async def execute(self, data: NodeData) -> None:
        _note(self.params.port, data)
