"""Where wfctl talks to and how it prints: flags, then --context, then the environment, then the current context."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from wfctl import contexts
from wfctl.errors import BadUsage

Format = Literal["table", "wide", "json", "yaml", "name"]
DEFAULT_ADDRESS: Final = "127.0.0.1:7420"
ENVIRONMENT: Final = "_environment"  # among what is given: the names of those that the environment gave
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}|unix:.+|(dns|ipv4|ipv6):.+")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # what travels as metadata


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options, resolved."""

    address: str = DEFAULT_ADDRESS
    namespace: str = "default"
    cacert: str | None = None  # PEM file: whom to trust; its presence turns TLS on
    cert: str | None = None  # PEM file: who we are
    key: str | None = None  # PEM file, readable by its owner only
    token: str | None = None  # sent with each call
    output: Format = "table"
    color: bool | None = None  # None: when the output is a terminal
    timeout_s: float = 30.0  # of one call
    insecure: bool = False  # speak plain text with another machine

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "token"}
        return f"Settings({shown}, token={'***' if self.token else None})"


def resolve(given: Mapping[str, Any], *, config: Path | None = None) -> Settings:
    """Return the settings from what flags and environment gave, and from the context that they name.

    Raises BadUsage for a context that does not exist or a configuration file that can't be read.
    """
    given = {name: value for name, value in given.items() if value is not None}
    environment: frozenset[str] = given.pop(ENVIRONMENT, frozenset())
    name = given.pop("context", None)
    known = contexts.load(config or contexts.default_path())
    wanted = name or known.current
    base = known.get(wanted) if wanted else {}
    if name is not None and "context" not in environment:  # whoever names one means it, whatever the shell exports
        given = {key: value for key, value in given.items() if key not in environment or key not in base}
    settings = Settings(**{**base, **given})
    check_address(settings.address)
    if settings.token and not _TOKEN.fullmatch(settings.token):
        raise BadUsage("the token holds something else than letters, digits and signs; give it in one line, as it was")
    if settings.token and not settings.cacert and not _is_local(settings.address):
        raise BadUsage(
            f"a token is not sent in the clear to {settings.address}; name the server's authority with --cacert"
        )
    if settings.cacert is None and not settings.insecure and not _is_local(settings.address):
        raise BadUsage(
            f"what is said to {settings.address} could be read and changed on the way; name the server's authority "
            "with --cacert, or say --insecure"
        )
    return settings


def check_address(address: str) -> None:
    """Raise BadUsage unless it is written as one."""
    if not _ADDRESS.fullmatch(address):
        raise BadUsage(f"{address!r} is no address; write HOST:PORT, as in {DEFAULT_ADDRESS}")


def _is_local(address: str) -> bool:
    return address.startswith(("127.", "localhost:", "[::1]:", "unix:"))
