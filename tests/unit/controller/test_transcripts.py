"""Golden transcripts of sessions. `TREADLE_REWRITE=1 pytest ...` writes them anew, to be read as a diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcripts import transcripts_beside
from tests.unit.controller.transcript import SessionsPlayer

TRANSCRIPTS = transcripts_beside(__file__)


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
def test_sessions_keep_to_the_transcript(file: Path) -> None:
    SessionsPlayer().keeps_to(file)


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 6
