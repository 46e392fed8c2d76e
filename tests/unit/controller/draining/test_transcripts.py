"""Golden transcripts of drains. `TREADLE_REWRITE=1 pytest ...` writes them anew, to be read as a diff."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.controller.draining.player import Player

TRANSCRIPTS = sorted(Path(__file__).parent.joinpath("transcripts").glob("*.txt"))


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
def test_drains_keep_to_the_transcript(file: Path) -> None:
    written = file.read_text()
    played = Player().play(written)
    if os.environ.get("TREADLE_REWRITE") == "1":
        file.write_text(played)
        return

    assert played == written


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 3
