"""file.lines: reads a text file line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from treadle.data import Idle, LoopComplete
from treadle.errors import Permanent
from treadle.node import Params, ProducerNode
from treadle.nodes.line_file import LineFile
from treadle.nodes.seconds import Seconds


class FileLinesParams(Params):
    """Which file, and whether it grows."""

    path: str = Field(min_length=1, description="The file, relative to the agent's working folder; `.gz` is unpacked.")
    follow: bool = Field(default=False, description="Wait for more at the end, also for a file that is not there yet.")
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
            self._file = self._start()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def execute(self) -> dict[str, Any] | Idle | LoopComplete:
        if self.params.follow and not self._is_current():
            return Idle(after=self.params.poll)
        line = self._next()
        if line is None:
            return Idle(after=self.params.poll) if self.params.follow else LoopComplete()
        place = self._place()
        number = place["line"] + 1
        self.state["place"] = {**place, "offset": place["offset"] + len(line), "line": number}
        text = line.decode(self.params.encoding, errors="replace")
        return {"line": text.removesuffix("\n").removesuffix("\r"), "number": number}

    def _place(self) -> dict[str, Any]:
        place: dict[str, Any] = self.state.get("place", {"offset": 0, "line": 0, "file": None})
        return place

    def _start(self) -> LineFile:
        file = LineFile(self.params.path)
        if not self.params.path.endswith(".gz") and file.size < self._place()["offset"]:
            file.close()
            raise Permanent(f"{self.params.path} is shorter than what was read of it before")
        return file

    def _next(self) -> bytes | None:
        if self._file is None:
            return None
        start = self._place()["offset"]
        self._file.seek(start)
        line = self._file.read()
        if line is not None and self.params.follow and not line.endswith(b"\n"):
            self._file.seek(start)  # still being written
            return None
        return line

    def _is_current(self) -> bool:
        """See to it that the open file is the one that has the name now, and that the place is one in it."""
        path = Path(self.params.path)
        place = self._place()
        if self._file is not None and self._has_more(place["offset"]):
            return True
        try:
            found = path.stat()
        except FileNotFoundError:
            return self._file is not None
        if self._file is None or self._file.identity != found.st_ino:
            self.close()
            self._file = LineFile(self.params.path)
        if place["file"] not in {None, found.st_ino} or found.st_size < place["offset"]:
            place = {"offset": 0, "line": 0, "file": None}
        if place["file"] != found.st_ino:
            self.state["place"] = {**place, "file": found.st_ino}
        return True

    def _has_more(self, offset: int) -> bool:
        return self._file is not None and self._place()["file"] == self._file.identity and self._file.size > offset
