"""The blocking XREAD, packed in parts, is the command that it stands for."""

from __future__ import annotations

from typing import Any, cast

from treadle.queues.keys import Keys
from treadle.queues.naming import Naming
from treadle.queues.reader import Reader
from treadle.queues.wire import pack

KEYS = Keys("n")
NO_TENURE = cast("Any", None)  # these readers wake nobody


def test_a_naming_makes_the_command_that_reads_on_from_where_its_readers_are() -> None:
    readers = [Reader(NO_TENURE, queue, first, 1, counted=False) for queue, first in (("a", 7), ("ä", 123_456))]
    naming = Naming(KEYS, KEYS.doorbell("host"), 5000, readers)
    for reader in readers:
        reader.cursor = reader.cursor + b"0"

    streams = (KEYS.doorbell("host"), *(KEYS.queue(r.queue) for r in readers), b"3-1", *(r.cursor for r in readers))
    assert naming.command(64, b"3-1") == pack("XREAD", "COUNT", 64, "BLOCK", 5000, "STREAMS", *streams)
    assert naming.by_key == {KEYS.queue(reader.queue).encode(): reader for reader in readers}


def test_a_naming_of_no_reader_listens_to_the_doorbell() -> None:
    naming = Naming(KEYS, "bell", 10)

    assert naming.command(8, b"0-0") == pack("XREAD", "COUNT", 8, "BLOCK", 10, "STREAMS", "bell", "0-0")
