"""A unit of systemd, read as far as starting its program without systemd needs."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "": 1.0}


@dataclass(frozen=True)
class UnitFile:
    """The [Service] section of a unit, with its specifiers filled in."""

    path: Path
    instance: str = ""

    @property
    def name(self) -> str:
        return self.path.name.replace("@.", f"@{self.instance}.")

    @property
    def credentials(self) -> str:
        return f"/run/credentials/{self.name}"

    def all(self, key: str) -> list[str]:
        """Return every value of a key, in order."""
        section = self.path.read_text().partition("[Service]")[2].partition("\n[")[0]
        return [self._filled(value) for value in re.findall(rf"^{key}=(.*)$", section, re.MULTILINE)]

    def one(self, key: str) -> str:
        """Return the only value of a key."""
        (value,) = self.all(key)
        return value

    def seconds(self, key: str) -> float:
        """Return a time span."""
        number, unit = re.fullmatch(r"(\d+)([a-z]*)", self.one(key)).groups()  # type: ignore[union-attr]
        return int(number) * _SECONDS[unit]

    def command(self) -> list[str]:
        return shlex.split(self.one("ExecStart"))

    def environment(self) -> dict[str, str]:
        """Return Environment=, and what systemd adds to it."""
        own = dict(line.split("=", 1) for line in self.all("Environment"))
        user, state = self.one("User"), f"/var/lib/{self.one('StateDirectory')}"
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
            "LANG": "C.UTF-8",
            "USER": user,
            "LOGNAME": user,
            "HOME": state,
            "STATE_DIRECTORY": state,
            "CREDENTIALS_DIRECTORY": self.credentials,
            "WATCHDOG_USEC": str(int(self.seconds("WatchdogSec") * 1e6)),
            **own,
        }

    def system_calls(self) -> list[str]:
        """Return the names of what SystemCallFilter= allows."""
        allowed: set[str] = set()
        for line in self.all("SystemCallFilter"):
            calls = {call for name in line.removeprefix("~").split() for call in _expanded(name)}
            allowed = allowed - calls if line.startswith("~") else allowed | calls
        return sorted(allowed)

    def _filled(self, value: str) -> str:
        known = {"%i": self.instance, "%S": "/var/lib", "%d": self.credentials}
        return re.sub("%[a-zA-Z]", lambda found: known[found[0]], value)


def _expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    members = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return {call for member in members if member and member[0] != "#" for call in _expanded(member)}
