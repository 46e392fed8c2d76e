"""What `import treadle` offers."""

from __future__ import annotations

import subprocess
import sys

import treadle


def test_all_names_are_sorted_and_there() -> None:
    assert treadle.__all__ == sorted(treadle.__all__)
    assert all(hasattr(treadle, name) for name in treadle.__all__)
    assert dir(treadle) == treadle.__all__


def test_everything_public_says_that_it_comes_from_treadle() -> None:
    assert {getattr(treadle, name).__module__ for name in treadle.__all__} == {"treadle"}


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    assert not hasattr(treadle, "Nonsense")


def test_importing_a_part_does_not_import_the_rest() -> None:
    code = "import sys, treadle.workflow.plan; print(sorted({'pydantic', 'asyncio', 'msgspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
