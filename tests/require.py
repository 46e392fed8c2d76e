"""What a test needs from the machine: a named skip where it is missing, a failure where CI installs it."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest


class Require:
    """Say what a test cannot do without.

    A missing thing skips the test under its name; with `CI=true` in the environment it fails instead, so that a run
    that was meant to be complete cannot shrink in silence.
    """

    def __init__(self, *, in_ci: bool) -> None:
        self._in_ci = in_ci

    def __call__(self, available: object, what: str) -> None:
        """Go on only if `available` is true; `what` names it, and how to get it when that is not obvious."""
        if available:
            return
        if self._in_ci:
            pytest.fail(f"CI has to provide {what}", pytrace=False)
        pytest.skip(f"needs {what}")

    def program(self, name: str) -> str:
        """Return the path of a program that is on PATH."""
        path = shutil.which(name)
        self(path, f"the program {name}")
        return path or name

    def module(self, name: str) -> None:
        """Go on only if a Python module can be imported."""
        self(importlib.util.find_spec(name), f"the Python module {name}")

    def root(self) -> None:
        """Go on only as root."""
        self(os.geteuid() == 0, "root")
