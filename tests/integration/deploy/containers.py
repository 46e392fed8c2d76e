"""Containers of the compose file and of the manifests, run as plain processes: same command, environment and files.

What a container sees under a path of its own is in a folder of this machine, and its names of hosts are ports here:
both are put in the place of the originals, in arguments, environment and configuration.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.acceptance.running import environment

_STOP_S: Final = 40.0
_RUN_S: Final = 60.0


@dataclass(frozen=True)
class Container:
    """One container; `mounts` says which volume is where, `config` where the files of make-secrets.sh are."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    mounts: Mapping[str, str]
    config: str

    @classmethod
    def of_service(cls, name: str, service: Mapping[str, Any]) -> Self:
        """Return what a service of a compose file starts."""
        mounts = [volume.split(":") for volume in service.get("volumes", [])]
        return cls(
            name,
            tuple(word.replace("$$", "$") for word in service["command"]),
            service.get("environment", {}),
            {path: volume for volume, path, *_ in mounts},
            "/run/secrets",
        )

    @classmethod
    def of_pod(cls, pod: str, container: Mapping[str, Any]) -> Self:
        """Return what a pod starts; volumes are the pod's own, but for its secrets."""
        env = {one["name"]: one.get("value", pod) for one in container.get("env", [])}
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        shared = ("config", "tokens")
        own = {path: name if name in shared else f"{pod}-{name}" for path, name in mounts.items() if path != "/tmp"}
        own.pop("/etc/treadle", None)
        return cls(f"{pod}-{container['name']}", tuple(container["command"]), env, own, "/etc/treadle")


class Machine:
    """Runs containers. `names` are the hosts and ports of containers, and what they are here."""

    def __init__(self, folder: Path, config: Path, names: Mapping[str, str]) -> None:
        self.folder, self._config, self._names = folder, config, names

    def volume(self, name: str) -> Path:
        """Return the folder of a volume."""
        place = self.folder / "volumes" / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    def run(self, container: Container, *command: str) -> subprocess.CompletedProcess[str]:
        """Run it, or another command in it, to its end."""
        args, env = self._here(container, command or container.command)
        return subprocess.run(args, env=env, capture_output=True, text=True, timeout=_RUN_S, check=False)

    @contextmanager
    def running(self, container: Container) -> Iterator[subprocess.Popen[bytes]]:
        """Run it meanwhile; then it is stopped with SIGTERM."""
        args, env = self._here(container, container.command)
        home = self.volume(container.mounts.get("/var/lib/treadle-agent", container.name))
        with self.log(container).open("ab") as log:
            process = subprocess.Popen(args, env=env, cwd=home, stdout=log, stderr=log)
        try:
            yield process
            process.terminate()
            process.wait(_STOP_S)
        finally:
            process.kill()
            process.wait()

    def log(self, container: Container) -> Path:
        """Return what it writes."""
        return self.folder / f"{container.name}.log"

    def _here(self, container: Container, command: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
        config = self.folder / f"{container.name}-config"
        config.mkdir(exist_ok=True)
        places = {path: str(self.volume(name)) for path, name in container.mounts.items()}
        places[f"{container.config}/"] = f"{config}/"
        for file in self._config.iterdir():
            (config / file.name).write_text(self._moved(file.read_text(), places))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {name: self._moved(value, places) for name, value in container.env.items()}
        return [self._moved(word, places) for word in command], {**environment(), "PATH": path, **env}

    def _moved(self, text: str, places: Mapping[str, str]) -> str:
        for there, here in sorted({**self._names, **places}.items(), key=lambda one: -len(one[0])):
            text = text.replace(there, here)
        return text
