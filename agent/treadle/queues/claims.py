"""Ranges of queues with several slots: each is claimed by a call of its own, which brings the messages too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from treadle.errors import TenureLost
from treadle.queues import envelope
from treadle.queues.reader import Reader
from treadle.queues.wire import GONE


class Call(Protocol):
    """Calls a function of the library; the callback gets the answer, an error reply, or GONE."""

    def __call__(self, callback: Callable[[Any], None], function: str, *args: Any) -> None:
        """See above."""
        ...


class Claims:
    """See the module. `again` is asked to see to a reader whose claim could not be made, `lose` to end its tenure."""

    def __init__(
        self, host: str, call: Call, *, again: Callable[[Reader], None], lose: Callable[[Reader, TenureLost], None]
    ) -> None:
        self._host = host
        self._call = call
        self._want = again
        self._lose = lose

    def claim(self, reader: Reader) -> None:
        """Take the next range, or have the host rung once there is one."""
        if reader.claiming:
            reader.rang = True
            return
        reader.claiming, reader.rang = True, False
        tenure = reader.tenure
        self._call(
            partial(self._claimed, reader),
            "treadle_claim",
            str(tenure.key),
            tenure.epoch,
            tenure.pipeline.inc,
            reader.queue,
            self._host,
            reader.last_claim,
        )

    def _claimed(self, reader: Reader, answer: Any) -> None:
        reader.claiming = False
        if not isinstance(answer, list):
            if answer is not GONE:
                asyncio.get_running_loop().call_later(0.2, self._want, reader)
            return
        match answer[0]:
            case b"OK":
                entries = [e for e in map(envelope.parse, answer[3]) if e is not None]
                if not reader.accept_range(answer[1], answer[2], entries):
                    why = TenureLost("A claimed range is not whole.", reason="shifted", queue=reader.queue)
                    self._lose(reader, why)
                reader.parked = True
            case b"EMPTY":
                reader.learn(answer[1], writers_gone=answer[2] == 1, drained=answer[3] == 1)
                if reader.rang:  # the ring travels on another connection: it may be here before this answer
                    self.claim(reader)
            case code:
                reason = {b"FENCED": "fenced", b"SHIFTED": "shifted"}.get(code, "bad-type")
                self._lose(reader, TenureLost("The claim was refused.", reason=reason, queue=reader.queue))
        reader.tenure.wake()
