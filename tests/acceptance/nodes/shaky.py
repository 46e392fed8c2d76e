"""A node that fails now and then, and keeps the books of it."""

from __future__ import annotations

import logging
import os
from typing import Any

from treadle import BlockingNode, NodeData, Params


class Shaky(Params):
    """Where the books are, and which numbers fail: at their first attempt only, or always."""

    book: str
    once: int
    always: int


class ShakyNode(BlockingNode[Shaky]):
    """Writes a line for each attempt: number, attempt, and what comes of it."""

    uses = "test.shaky"

    def execute(self, data: NodeData) -> Any:
        number, attempt = data["n"], self.context.attempt
        fails = number % self.params.always == 0 or (number % self.params.once == 0 and attempt == 1)
        line = f"{number} {attempt} {'failed' if fails else 'succeeded'}\n"
        book = os.open(self.params.book, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(book, line.encode())  # at once: several processes write
        finally:
            os.close(book)
        logging.getLogger("library").warning("number %d, attempt %d", number, attempt)
        if fails:
            message = f"{number} does not work"
            raise ValueError(message)
        return data
