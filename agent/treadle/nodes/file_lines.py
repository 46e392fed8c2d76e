"""file.lines: reads a text file line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from treadle.data import Idle, LoopComplete
from treadle.errors import Permanent
from treadle.node import Params, ProducerNode
from treadle.nodes.line_file import LineFile
from treadle.nodes.seconds import Seconds

_HEAD: Final = 64  # bytes at the start of a followed file by which it is known again


class FileLinesParams(Params):
    """Which file, and whether it grows."""

    path: str = Field(min_length=1, description="The file, relative to the agent's working folder; `.gz` is unpacked.")
    follow: bool = Field(
        default=False, description="Wait for more at the end, also for a file that is not there yet. Not for `.gz`."
    )
    poll: Seconds = Field(0.2, description="How often to look for more when following.")
    encoding: Literal["utf-8", "latin-1", "cp1252", "ascii"] = Field("utf-8", description="How the text is encoded.")


class FileLines(ProducerNode[FileLinesParams]):
    """Emits each line of a text file exactly once: `{"line": ..., "number": ...}`, numbers from 1.

    Completes at the end unless it follows. A followed file that was replaced or cut is read from its start; what was
    written to the old one after the last look is missed. Bytes that are no valid text become U+FFFD.
    """

    uses = "file.lines"
    stateful = True

    def open(self) -> None:
        self._file: LineFile | None = None
        if not self.params.follow:
            self._file = LineFile(self.params.path)
            if not self.params.path.endswith(".gz") and self._file.size < self._stored()["offset"]:
                raise Permanent(f"{self.params.path} is shorter than what was read of it before")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def execute(self) -> dict[str, Any] | Idle | LoopComplete:
        emitted = self._followed() if self.params.follow else self._next(self._stored())
        if emitted is not None:
            return emitted
        return Idle(after=self.params.poll) if self.params.follow else LoopComplete()

    def _stored(self) -> dict[str, Any]:
        place: dict[str, Any] = self.state.get("place", {"offset": 0, "line": 0})
        return place

    def _followed(self) -> dict[str, Any] | None:
        """Return the next line of the file that has the name now; what is left of the one before comes first."""
        emitted = self._next(self._place())
        if emitted is None and self._was_replaced():
            self.close()
            self._file = LineFile(self.params.path)
            emitted = self._next(self._place())
        return emitted

    def _next(self, place: dict[str, Any]) -> dict[str, Any] | None:
        if self._file is None:
            return None
        self._file.seek(place["offset"])
        line = self._file.read()
        if line is None or (self.params.follow and not line.endswith(b"\n")):  # the latter is still being written
            return None
        number = place["line"] + 1
        self.state["place"] = {**place, "offset": place["offset"] + len(line), "line": number}
        text = line.decode(self.params.encoding, errors="replace")
        return {"line": text.removesuffix("\n").removesuffix("\r"), "number": number}

    def _place(self) -> dict[str, Any]:
        """Return the place in the open file: the stored one, or the start when that is of another file."""
        file, place = self._file, self._stored()
        if file is None:
            return place
        # An inode is used again soon after its file is gone: the first bytes have to be the same as well.
        known = (place.get("file", file.identity), place.get("head", b""))
        if known != (file.identity, file.head(len(known[1]))) or file.size < place["offset"]:
            place = {"offset": 0, "line": 0}
            file.reread()
        head = file.head(min(_HEAD, place["offset"]))
        return {**place, "file": file.identity, "head": head}

    def _was_replaced(self) -> bool:
        try:
            found = Path(self.params.path).stat()
        except FileNotFoundError:
            return False
        return self._file is None or self._file.identity != found.st_ino
