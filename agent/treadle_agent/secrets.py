"""Where `{"$secret": "name"}` in workflows gets its value: on this host, when a node is made, and nowhere else.

In this order: a file of that name in the folder of `secrets.folder`; the systemd credential `secret_NAME`
(`LoadCredential=secret:/etc/treadle/secrets`); the variable `secrets.environment` followed by the name in capitals,
with `_` for `-` and `.`. A value is read anew each time that a loop starts: a new one is used after its restart.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.redaction import hide

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CREDENTIAL: Final = "secret_"


@dataclass(frozen=True, slots=True)
class SecretsProvider:
    """See the module."""

    folder: Path | None = None
    prefix: str = "TREADLE_SECRET_"

    def get(self, name: object) -> str:
        """Return the value of a secret, which is hidden from then on. Raises KeyError."""
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise KeyError(name)
        for file in self._files(name):
            if file.is_file():
                return _hidden(_read(file))
        variable = self.prefix + re.sub(r"[.-]", "_", name).upper()
        if self.prefix and variable in os.environ:
            return _hidden(os.environ[variable])
        raise KeyError(name)

    def hide_all(self) -> None:
        """Hide every value that there is: for processes that hand on what others say."""
        for folder, prefix in self._folders():
            for file in folder.iterdir() if folder.is_dir() else ():
                if file.name.startswith(prefix) and file.is_file() and os.access(file, os.R_OK):
                    hide(_read(file))
        for value in _variables(self.prefix, os.environ):
            hide(value)

    def _files(self, name: str) -> Iterator[Path]:
        return (folder / f"{prefix}{name}" for folder, prefix in self._folders())

    def _folders(self) -> Iterator[tuple[Path, str]]:
        if self.folder is not None:
            yield self.folder, ""
        if "CREDENTIALS_DIRECTORY" in os.environ:
            yield Path(os.environ["CREDENTIALS_DIRECTORY"]), _CREDENTIAL


def _variables(prefix: str, environ: Mapping[str, str]) -> list[str]:
    return [value for key, value in environ.items() if prefix and key.startswith(prefix)]


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")


def _hidden(value: str) -> str:
    hide(value)
    return value
