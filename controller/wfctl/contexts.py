"""The configuration file of wfctl: named sets of global options, one of which may be the current one.

    current = "prod"

    [contexts.prod]
    address = "controller.example:7420"
    cacert = "/etc/treadle/ca.pem"

Only its owner can read it: it may hold tokens.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wfctl.errors import BadUsage

KEYS: Final = ("address", "namespace", "cacert", "cert", "key", "token")
FILES: Final = ("cacert", "cert", "key")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(slots=True)
class Contexts:
    """What the file says."""

    path: Path
    current: str = ""
    named: dict[str, dict[str, str]] = field(default_factory=dict)

    def get(self, name: str) -> dict[str, str]:
        """Return one context. Raises BadUsage when there is none of this name, or it can't be used."""
        if name not in self.named:
            known = ", ".join(sorted(self.named)) or "none"
            near = difflib.get_close_matches(name, self.named, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadUsage(f"there is no context {name!r} in {self.path}; it has: {known}{hint}")
        return _checked(self.named[name], f"[contexts.{name}] of {self.path}")

    def save(self) -> None:
        """Write the file, whole and readable by its owner only. Raises BadUsage when that can't be done."""
        aside = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(self._text())
            aside.replace(self.path)
        except OSError as exc:
            with suppress(OSError):
                aside.unlink()
            raise BadUsage(f"{self.path} can't be written: {exc.strerror or exc}") from exc

    def _text(self) -> str:
        lines = [f"current = {_quoted(self.current)}", ""] if self.current else []
        for name, context in sorted(self.named.items()):
            lines.append(f"[contexts.{_quoted(name)}]")
            lines += [f"{key} = {_quoted(context[key])}" for key in KEYS if key in context]
            lines.append("")
        return "\n".join(lines)


def default_path() -> Path:
    """Return the path of the configuration file, which need not exist."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "wfctl" / "config.toml"


def load(path: Path) -> Contexts:
    """Read the file, if there is one. Raises BadUsage."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BadUsage(f"{path} can't be read: {exc}") from exc
    current, named = document.get("current", ""), document.get("contexts", {})
    if not isinstance(current, str) or not isinstance(named, dict):
        raise BadUsage(f"{path}: `current` is a name, and [contexts.NAME] a table for each context")
    return Contexts(path, current, named)


def checked_name(name: str) -> str:
    """Return a name that a context may have. Raises BadUsage."""
    if not _NAME.fullmatch(name):
        raise BadUsage(f"{name!r} is no name for a context; write letters, digits, '.', '_' and '-'")
    return name


def absolute(context: Mapping[str, str]) -> dict[str, str]:
    """Return a context whose files are named from the root, and are there. Raises BadUsage."""
    found = dict(context)
    for key in FILES:
        if key in found:
            path = Path(found[key]).expanduser().absolute()
            if not path.is_file():
                raise BadUsage(f"--{key}: there is no file {path}")
            found[key] = str(path)
    return found


def _checked(context: Any, where: str) -> dict[str, str]:
    if not isinstance(context, dict):
        raise BadUsage(f"{where} has to be a table")
    for key, value in context.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(KEYS)}"
            raise BadUsage(f"{where}: {key!r} is not known; {hint}")
        if not isinstance(value, str):
            raise BadUsage(f"{where}: {key} has to be a string")
    return dict(context)


def _quoted(text: str) -> str:
    # A JSON string without characters beyond ASCII is a basic string of TOML.
    return json.dumps(text)
