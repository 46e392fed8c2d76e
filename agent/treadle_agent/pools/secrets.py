"""The secrets of this child's agent, as it was told at its birth."""

from __future__ import annotations

from pathlib import Path

from treadle_agent.secrets import SecretsProvider
from treadle_agent.setup import Setup

_providers: list[SecretsProvider] = []


def install(setup: Setup) -> None:
    """Get secrets from where the agent's configuration says; what they are is hidden in all that is said here."""
    provider = SecretsProvider(Path(setup.secrets_folder) if setup.secrets_folder else None, setup.secrets_prefix)
    _providers[:] = [provider]


def get(name: str) -> str:
    """Return the value of a secret. Raises KeyError."""
    if not _providers:
        raise KeyError(name)
    return _providers[0].get(name)
