"""The fault suite: a short seeded form in `make test`, a long one with MINUTES (and SEED) in the environment."""

from __future__ import annotations

import os

import pytest

SEED = int(os.environ.get("SEED") or 20_260_101)
MINUTES = float(os.environ.get("MINUTES") or 0)


@pytest.fixture(scope="session")
def seed() -> int:
    """Return where all choices begin."""
    return SEED


@pytest.fixture(scope="session")
def minutes() -> float:
    """Return how long the long form lasts, 0 for the short one."""
    return MINUTES
