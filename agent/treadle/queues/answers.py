"""What an error reply of the server means for a call: wait, ask where the server is now, or give up."""

from __future__ import annotations

from enum import Enum


class Remedy(Enum):
    """What helps against an error reply."""

    OUT_OF_MEMORY = "out-of-memory"  # the same again, later: consumers make room
    WAIT = "wait"  # the same again, soon: the server is busy, loading, or its functions are not loaded yet
    RELOCATE = "relocate"  # this is no longer the right server, or it does not know us: connect anew
    NONE = "none"


_REMEDIES = {
    "OOM": Remedy.OUT_OF_MEMORY,
    "LOADING": Remedy.WAIT,
    "BUSY": Remedy.WAIT,
    "TRYAGAIN": Remedy.WAIT,
    "CLUSTERDOWN": Remedy.WAIT,
    "MASTERDOWN": Remedy.WAIT,
    "NOREPLICAS": Remedy.WAIT,
    "MISCONF": Remedy.WAIT,
    "READONLY": Remedy.RELOCATE,
    "MOVED": Remedy.RELOCATE,
    "ASK": Remedy.RELOCATE,
    "NOAUTH": Remedy.RELOCATE,
    "WRONGPASS": Remedy.RELOCATE,
    "UNBLOCKED": Remedy.RELOCATE,
}


def remedy(error: str) -> Remedy:
    """Judge an error reply by its first word, which is what Redis promises to keep."""
    word, _, rest = error.partition(" ")
    if word == "ERR" and rest.startswith("Function not found"):
        return Remedy.WAIT
    return _REMEDIES.get(word, Remedy.NONE)
