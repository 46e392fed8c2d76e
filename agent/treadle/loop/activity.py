"""What a loop is doing at one moment, for whoever asks why nothing happens."""

from __future__ import annotations

from typing import NamedTuple


class Activity(NamedTuple):
    """A node at work. Times are those of the loop's monotonic clock."""

    node: str
    since: float
    attempt: int
    again_at: float | None  # the node isn't at work: its next attempt begins then
