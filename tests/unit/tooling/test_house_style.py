from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST_FILE = 400
LONGEST_FUNCTION = 60  # house style: beyond it a reviewer has to hear a reason
LONGEST_EXCUSED = 80
EXCUSE = re.compile(r"# noqa: .*PLR0915.* - \w")  # with the reason behind it
BUCKETS = {"base", "common", "helpers", "misc", "util", "utils"}


@pytest.fixture(scope="module")
def sources(pytestconfig: pytest.Config) -> list[Path]:
    """Our own product code, less what is generated and migrations, which are written once and kept."""
    root = pytestconfig.rootpath
    return [
        path
        for folder in ("agent", "controller", ".ci")
        for path in sorted((root / folder).rglob("*.py"))
        if not any(part in path.as_posix() for part in ("treadle/v1/", "/migrations/versions/"))
    ]


def functions(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield of each function its name, the lines of its body less the docstring, and whether it excuses its length."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield node.name, length, EXCUSE.search(lines[node.lineno - 1]) is not None


def test_no_file_is_too_long_to_read(sources: list[Path]) -> None:
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources}

    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_too_long_to_see_at_once(sources: list[Path]) -> None:
    too_long = {
        f"{path}: {name}": length
        for path in sources
        for name, length, excused in functions(path)
        if length > (LONGEST_EXCUSED if excused else LONGEST_FUNCTION)
    }

    assert too_long == {}


def test_no_file_is_a_bucket(sources: list[Path]) -> None:
    assert [str(path) for path in sources if path.stem.strip("_") in BUCKETS] == []
