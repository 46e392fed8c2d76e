"""Which slots of its shared-memory page each child has given to which run."""

from __future__ import annotations

from treadle_agent.supervisor.child import PAGE_SLOTS, Child


class Slots:
    """Takes the slot that was free for the longest time: what stood in it can be read for as long as possible."""

    def __init__(self) -> None:
        self._free: dict[str, list[int]] = {}
        self._next: dict[str, int] = {}

    def take(self, child: Child) -> int:
        """Return a slot that no run has."""
        free = self._free.setdefault(child.marker, [])
        slot = self._next.get(child.marker, 0)
        if slot < PAGE_SLOTS[child.role]:
            self._next[child.marker] = slot + 1
            return slot
        return free.pop(0)

    def give(self, child: Child, slot: int) -> None:
        """Take back a slot."""
        if child.marker in self._free:
            self._free[child.marker].append(slot)

    def forget(self, child: Child) -> None:
        """Forget a child that is gone."""
        self._free.pop(child.marker, None)
        self._next.pop(child.marker, None)
