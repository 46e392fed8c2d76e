"""Golden transcripts: commands at the margin, and indented below each what really follows from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path


def transcripts_beside(test_file: str) -> list[Path]:
    """Return the transcripts of a test's folder."""
    return sorted(Path(test_file).parent.joinpath("transcripts").glob("*.txt"))


class Player:
    """Plays transcripts: a command is a verb and its words, and `do_<verb>` says what follows."""

    def play(self, text: str) -> str:
        """Return the transcript with what really follows."""
        lines: list[str] = []
        for line in text.splitlines():
            if line.startswith("  "):
                continue
            lines.append(line)
            if line and not line.startswith("#"):
                lines += [f"  {said}" for said in self._run(line)]
        return "\n".join(lines) + "\n"

    def keeps_to(self, file: Path) -> None:
        """Assert that a transcript says what follows. `TREADLE_REWRITE=1` writes it anew, to be read as a diff."""
        written = file.read_text()
        played = self.play(written)
        if os.environ.get("TREADLE_REWRITE") == "1":
            file.write_text(played)
            return
        assert played == written

    def _run(self, line: str) -> Iterable[str]:
        verb, *words = line.split()
        command: Callable[..., Iterable[str]] = getattr(self, f"do_{verb}")
        return command(*words)
