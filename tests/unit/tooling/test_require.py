from __future__ import annotations

import sys

import pytest

from tests.require import Require


def test_what_is_there_lets_the_test_go_on() -> None:
    require = Require(in_ci=True)

    require(available := True, "something")

    assert available
    assert require.program("sh").endswith("/sh")
    require.module("json")


def test_what_is_missing_is_a_named_skip() -> None:
    with pytest.raises(pytest.skip.Exception, match="needs the program no-such-program"):
        Require(in_ci=False).program("no-such-program")


def test_what_is_missing_is_a_failure_in_ci() -> None:
    with pytest.raises(pytest.fail.Exception, match="CI has to provide the Python module no_such_module"):
        Require(in_ci=True).module("no_such_module")


@pytest.mark.requires("sh")
def test_a_marked_test_runs_where_its_programs_are(require: Require) -> None:
    assert require.program("sh")


@pytest.mark.parametrize(("in_ci", "outcome"), [("true", "failed"), ("", "skipped")])
def test_the_mark_skips_or_fails_by_the_environment(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, in_ci: str, outcome: str
) -> None:
    root = pytestconfig.rootpath
    monkeypatch.setenv("CI", in_ci)
    monkeypatch.setenv("PYTHONPATH", str(root))
    pytester.makeconftest((root / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile("import pytest\n\n@pytest.mark.requires('no-such-program')\ndef test_it(): pass\n")

    result = pytester.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")

    assert result.parseoutcomes().get(outcome, result.parseoutcomes().get("errors")) == 1
