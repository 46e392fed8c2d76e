"""What the queues' administrator packs by itself goes over the wire as redis-py would have packed it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from treadle.queues.admin import QueueAdmin

_ARGS = ("FCALL", "treadle_assign", 1, "t:{n}:meta", b"\x00\xff\r\n", "ä", 0.5, 2**53, "", "x" * 20_000)


@pytest.mark.parametrize("scheme", ["redis://127.0.0.1:1", "rediss://127.0.0.1:1", "unix:///tmp/there-is-none"])
def test_a_command_is_packed_in_one_piece_with_the_same_bytes(scheme: str) -> None:
    client = asyncio.run(QueueAdmin(scheme, "n")._ready())
    made: Any = client.connection_pool.connection_class()
    kinds = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}

    packed = made.pack_command(*_ARGS)

    assert isinstance(made, kinds[scheme.split(":", 1)[0]])
    assert packed == [b"".join(Connection().pack_command(*_ARGS))]
