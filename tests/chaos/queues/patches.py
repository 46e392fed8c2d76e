"""Changes to the real source of treadle.queues, made at test time; one that no longer applies is an error."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

PACKAGE = "treadle.queues."


class Patch(NamedTuple):
    """`old` has to be in a file of agent/treadle/queues exactly once; `new` takes its place."""

    file: str
    old: str
    new: str


class PatchDoesNotApply(AssertionError):
    """The source has changed: the patch has to be written anew."""


def patched(text: str, patch: Patch) -> str:
    """Return the patched text."""
    found = text.count(patch.old)
    if found != 1:
        raise PatchDoesNotApply(f"{patch.file} holds {found} times: {patch.old!r}")
    return text.replace(patch.old, patch.new)


class _Loader(importlib.machinery.SourceFileLoader):
    patches: Sequence[Patch] = ()

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text("utf-8")
        for patch in self.patches:
            text = patched(text, patch)
        return compile(text, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, patches: Sequence[Patch]) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        name = fullname.removeprefix(PACKAGE)
        mine = [patch for patch in self._patches if patch.file == f"{name}.py"]
        if name == fullname or not mine:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None:
            return None
        loader = _Loader(fullname, spec.origin)
        loader.patches = mine
        return importlib.util.spec_from_file_location(fullname, spec.origin, loader=loader)


def install(patches: Sequence[Patch]) -> None:
    """Have this process import the patched modules. Call it before the first of them is imported."""
    for patch in patches:
        module = PACKAGE + patch.file.removesuffix(".py")
        assert module not in sys.modules, f"{module} is imported already"
    sys.meta_path.insert(0, _Finder(patches))
