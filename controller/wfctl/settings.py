"""Where wfctl talks to and how it prints: flags over environment over the named context over defaults."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from wfctl.errors import BadUsage

Format = Literal["table", "wide", "json", "yaml", "name"]
DEFAULT_ADDRESS: Final = "127.0.0.1:7420"
_IN_A_CONTEXT: Final = ("address", "namespace", "cacert", "cert", "key", "token")


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
    name = given.pop("context", None)
    base = read_context(config or default_path(), name)
    settings = Settings(**{**base, **given})
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


def default_path() -> Path:
    """Return the path of the configuration file, which need not exist."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "wfctl" / "config.toml"


def read_context(path: Path, name: str | None) -> dict[str, str]:
    """Return one context of a configuration file: the named one, else its `current` one, else nothing."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BadUsage(f"{path} can't be read: {exc}") from exc
    contexts: dict[str, dict[str, str]] = document.get("contexts", {})
    name = name or document.get("current")
    if name is None:
        return {}
    if name not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise BadUsage(f"there is no context {name!r} in {path}; it has: {known}")
    return _checked(contexts[name], f"[contexts.{name}] of {path}")


def _checked(context: Mapping[str, Any], where: str) -> dict[str, str]:
    for key, value in context.items():
        if key not in _IN_A_CONTEXT:
            near = difflib.get_close_matches(key, _IN_A_CONTEXT, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(_IN_A_CONTEXT)}"
            raise BadUsage(f"{where}: {key!r} is not known; {hint}")
        if not isinstance(value, str):
            raise BadUsage(f"{where}: {key} has to be a string")
    return dict(context)


def _is_local(address: str) -> bool:
    return address.startswith(("127.", "localhost:", "[::1]:", "unix:"))
