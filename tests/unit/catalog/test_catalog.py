"""treadle.catalog.load: what is offered, under which description, and what is said about the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from treadle.catalog import BadUses, DuplicateUses, ImportFailed, load

GREET = '''
from treadle.node import BlockingNode, Params

class GreetParams(Params):
    """Parameters."""
    greeting: str = "hello"

class Greet(BlockingNode[GreetParams]):
    """Greets
    everybody.

    More for the reader of the source.
    """
    uses = "user.greet"
    stateful = True
    state_version = 3

class Base(BlockingNode[Params]):
    """Not offered: it has no name."""

class Quiet(Greet):
    """Not offered either: it inherits a name and gives none."""
'''


@pytest.fixture
def greet(tmp_path: Path) -> Path:
    path = tmp_path / "greet.py"
    path.write_text(GREET)
    return path


def test_a_file_offers_the_classes_that_name_themselves(greet: Path) -> None:
    catalog = load(False, [str(greet)])

    assert list(catalog.classes) == ["user.greet"]
    assert catalog.errors == []


def test_a_type_describes_its_class(greet: Path) -> None:
    (described,) = load(False, [str(greet)]).types

    assert described.doc == "Greets\neverybody."
    assert (described.role, described.stateful, described.state_version) == ("node", True, 3)
    assert described.schema["properties"]["greeting"]["type"] == "string"
    assert described.schema["additionalProperties"] is False
    assert len(described.digest) == 32


def test_loading_a_file_shadows_no_module_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text(GREET.replace("user.greet", "user.json"))

    catalog = load(False, [str(path)])

    import json

    assert list(catalog.classes) == ["user.json"]
    assert path != Path(json.__file__)
    assert str(tmp_path) not in sys.path


def test_a_file_loaded_twice_is_no_duplicate(greet: Path) -> None:
    catalog = load(False, [str(greet), str(greet)])

    assert list(catalog.classes) == ["user.greet"]
    assert catalog.errors == []


def test_files_in_a_folder_can_import_each_other(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("WORD = 'hi'\n")
    (tmp_path / "greet.py").write_text("from .words import WORD\n" + GREET)

    catalog = load(False, [str(tmp_path)])

    assert list(catalog.classes) == ["user.greet"]


def test_one_broken_file_in_a_folder_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "a_broken.py").write_text("def oops(:\n")
    (tmp_path / "greet.py").write_text(GREET)

    catalog = load(False, [str(tmp_path)])

    assert list(catalog.classes) == ["user.greet"]
    (problem,) = catalog.errors
    assert problem.code == "import-failed"
    assert "a_broken" in problem.reason


def test_a_module_that_raises_or_exits_is_reported_with_a_short_traceback(tmp_path: Path, greet: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("value = 1\nraise SystemExit('not today')\n")

    catalog = load(False, [str(bad), "no.such.module", str(tmp_path / "absent.py"), str(greet)])

    assert list(catalog.classes) == ["user.greet"]
    assert [ImportFailed] * 3 == [type(problem) for problem in catalog.errors]
    assert [str(bad), "no.such.module", str(tmp_path / "absent.py")] == [p.file for p in catalog.errors]
    assert 'bad.py", line 2' in catalog.errors[0].reason
    assert "frozen importlib" not in catalog.errors[0].reason
    assert len(catalog.errors[0].reason.splitlines()) < 10


def test_the_first_of_two_classes_with_one_name_is_kept(tmp_path: Path, greet: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(GREET)

    catalog = load(False, [str(greet), str(other)])

    (problem,) = catalog.errors
    assert isinstance(problem, DuplicateUses)
    assert str(other) == problem.file
    assert str(greet) == catalog.types[0].module


@pytest.mark.parametrize("uses", ["User.greet", "a.b.c.d.e", "1st", "user..greet", "user.greet "])
def test_a_bad_name_is_reported(tmp_path: Path, uses: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(GREET.replace("user.greet", uses))

    catalog = load(False, [str(path)])

    assert catalog.classes == {}
    assert [BadUses] == [type(problem) for problem in catalog.errors]


def test_the_digest_changes_with_the_source_and_with_nothing_else(tmp_path: Path) -> None:
    digests = []
    for folder, text in (("a", GREET), ("b", GREET), ("c", GREET + "# new\n")):
        path = tmp_path / folder / "greet.py"
        path.parent.mkdir()
        path.write_text(text)
        digests.append(load(False, [str(path)]).types[0].digest)

    assert digests[0] == digests[1] != digests[2]


def test_all_decides_what_a_module_offers(tmp_path: Path) -> None:
    path = tmp_path / "chosen.py"
    path.write_text(GREET + "\nclass Other(Base):\n    uses = 'user.other'\n\n__all__ = ['Other']\n")

    assert list(load(False, [str(path)]).classes) == ["user.other"]


def test_classes_imported_from_elsewhere_are_not_offered_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from treadle.nodes.filter import Filter\n" + GREET)

    catalog = load(True, [str(path)])

    assert catalog.errors == []
    assert "user.greet" in catalog.classes


def test_treadles_own_nodes_are_offered_without_a_digest_and_before_all_others(greet: Path) -> None:
    catalog = load(True, [str(greet)])

    own = {described.uses: described for described in catalog.types if described.module == "treadle.nodes"}
    assert {"timer", "csv.rows", "sql.insert", "filter"} <= set(own)
    assert {""} == {described.digest for described in own.values()}
    assert catalog.types[-1].uses == "user.greet"


def test_the_catalog_of_treadles_own_nodes_imports_no_heavy_library() -> None:
    heavy = "{'sqlalchemy', 'httpx', 'psutil', 'cel', 'croniter', 'watchfiles'}"
    code = f"import sys, treadle.catalog as c; c.load(); print(sorted({heavy} & set(sys.modules)))"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.strip() == "[]"
