from __future__ import annotations

from pathlib import Path

import pytest

from treadle import catalog
from wfctl import known_types


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "wfctl"


def test_what_is_remembered_is_what_the_catalog_says(cache: Path) -> None:
    described, _ = known_types.load()
    remembered, _ = known_types.load()

    assert len(list(cache.iterdir())) == 1
    assert remembered == described == {item.uses: item for item in catalog.load().types}


def test_the_second_time_no_node_is_imported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known_types.load()
    monkeypatch.setattr(catalog, "load", lambda **_: pytest.fail("the catalog was asked"))

    assert "timer" in known_types.load()[0]


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": 1}', b'[{"uses": "x"}]', b"\xff"])
def test_a_spoilt_memory_is_made_again(cache: Path, content: bytes) -> None:
    known_types.load()
    (file,) = cache.iterdir()
    file.write_bytes(content)

    assert "timer" in known_types.load()[0]
    assert file.read_bytes() != content


def test_without_a_cache_folder_it_works_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert "timer" in known_types.load()[0]


def test_given_modules_are_always_described(cache: Path, tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(
        "from treadle import BlockingNode, Params\n"
        "class Mine(BlockingNode[Params]):\n    uses = 'my.own'\n    def execute(self, data):\n        return data\n"
    )

    assert "my.own" in known_types.load([str(module)])[0]
    assert "my.own" not in known_types.load()[0]
