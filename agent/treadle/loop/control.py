"""What the outside wants of a loop: drain, stop, pause, resume. Set from any thread, read between iterations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Control:
    """Flags and a bell. `raised` is the one that the hot path looks at: some flag wants attention."""

    __slots__ = ("_wake", "draining", "paused", "raised", "stopped")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.raised = False
        self.draining = False
        self.stopped = False
        self.paused = False

    @property
    def ending(self) -> bool:
        """Whether no further iteration may start, so that nothing may wait for more work."""
        return self.draining or self.stopped

    def drain(self) -> None:
        """End at an iteration boundary, once all that is in flight has committed."""
        self.draining = True
        self._ring()

    def stop(self) -> None:
        """End at the next iteration boundary, committed or not."""
        self.stopped = True
        self._ring()

    def pause(self) -> None:
        """Start no further iteration until `resume`."""
        self.paused = True
        self._ring()

    def resume(self) -> None:
        """Go on after a pause."""
        self.paused = False
        self._ring()

    def look(self) -> None:
        """Have the loop look at everything once more before its next iteration."""
        self._ring()

    def _ring(self) -> None:
        # The flag before the bell: whoever the bell wakes must see it.
        self.raised = True
        self._wake()
