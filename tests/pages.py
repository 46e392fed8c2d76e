"""What the pages of this repository print between fences, for the tests that run it.

for block in shell("deploy/README.md"):
    block.script    # as a shell takes it: without the "$ " of a console
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SHELLS: Final = frozenset({"", "sh", "bash", "console", "shell"})
_FENCED: Final = re.compile(r"^( *)```([\w+-]*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def script(self) -> str:
        """What a shell is given."""
        return re.sub(r"^\$ ", "", self.text, flags=re.MULTILINE)

    @property
    def first(self) -> str:
        """The first line that is a command, as somebody would point to the block."""
        return next(line for line in self.commands())

    def commands(self) -> Iterator[str]:
        """Yield the lines that are commands, without the comment at their end."""
        for line in self.script.splitlines():
            if line.strip() and not line.startswith("#"):
                yield re.sub(r"\s+# .*$", "", line)


def blocks(page: str, *languages: str) -> list[Block]:
    """Return the blocks of a page, in order: all, or those in some languages."""
    found = _FENCED.findall((ROOT / page).read_text("utf-8"))
    listed = (Block(page, language, text) for _, language, text in found)
    return [block for block in listed if not languages or block.language in languages]


def shell(page: str) -> list[Block]:
    """Return what a shell is to be given: a block that names no language is one of them."""
    return blocks(page, *SHELLS)
