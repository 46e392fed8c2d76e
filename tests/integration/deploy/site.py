"""Hosts of their own: a network, a name, an /etc, /var and /run each, on this machine. Needs root.

with Site({"web-1": "10.20.0.11"}, ...) as site:
    site.run("web-1", "uname -n")        # a shell on that host
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parents[3]
_BLOCK: Final = re.compile(r'^```sh on="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_SET_UP: Final = """
set -eu
mount --make-rprivate /
hostname {name}
mkdir -p {place}/etc {place}/var {place}/run/systemd/system {place}/local {place}/home {place}/opt
cp -a /etc/. {place}/etc/
cp -al {programs}/. {place}/opt/
mkdir -p {place}/var/lib {place}/var/log {place}/var/tmp
mount --bind {place}/etc /etc
mount --bind {place}/var /var
mount --bind {place}/local /usr/local
mkdir -p /usr/local/bin /opt/treadle /srv/treadle
mount --bind {place}/opt /opt/treadle
mount --bind {checkout} /srv/treadle
mount --bind {place}/run /run
for tool in systemctl ssh; do cp {tools}/$tool /usr/local/bin/$tool; done
echo ready
exec sleep infinity
"""


def blocks(guide: Path) -> list[tuple[list[str], str]]:
    """Return the blocks of a guide, each with the hosts that it is for."""
    return [(hosts.split(), text) for hosts, text in _BLOCK.findall(guide.read_text())]


class Site:
    """See the module. `programs` is what each /opt/treadle begins with, `checkout` what is in /srv/treadle."""

    def __init__(self, hosts: Mapping[str, str], folder: Path, programs: Path, checkout: Path, python: str) -> None:
        self.folder = folder
        self._hosts = hosts
        self._programs, self._checkout, self._python = programs, checkout, python
        self._uv = str(ROOT / ".venv" / "bin" / "uv")
        self._cache = subprocess.run(
            [self._uv, "cache", "dir"], capture_output=True, text=True, check=True
        ).stdout.strip()
        self._tag = f"g{os.getpid() % 100_000:x}"
        self._holders: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        self._write_tools()
        try:
            _ip(f"link add {self._tag}br type bridge")
            _ip(f"link set {self._tag}br up")
            for number, (name, address) in enumerate(self._hosts.items()):
                self._add(number, name, address)
        except (subprocess.CalledProcessError, AssertionError):
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End everything that runs on the hosts, and take them down."""
        for number, name in enumerate(self._hosts):
            space = f"{self._tag}-{number}"
            pids = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout
            for pid in pids.split():
                os.kill(int(pid), signal.SIGKILL)
            holder = self._holders.pop(name, None)
            if holder is not None:
                holder.kill()
                holder.communicate()
            _ip(f"netns delete {space}", check=False)
            _ip(f"link delete {self._tag}p{number}", check=False)
        _ip(f"link delete {self._tag}br", check=False)

    def run(self, host: str, script: str, *, timeout_s: float = 100.0) -> subprocess.CompletedProcess[str]:
        """Run a script in a shell on a host, which ends at the first failure."""
        return subprocess.run(
            [*self._enter(host), "sh", "-eu", "-c", script],
            env=self._environment(host),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def follow(self, guide: Path) -> None:
        """Do what a guide says, block after block."""
        for hosts, script in blocks(guide):
            for host in hosts:
                done = self.run(host, script)
                assert done.returncode == 0, f"on {host}:\n{script}\n{done.stdout}{done.stderr}\n{self.logs()}"

    def put_checkout(self, host: str, checkout: Path) -> None:
        """Put another checkout into /srv/treadle of a host, as `git pull` does."""
        done = self.run(host, f"mount --bind {checkout} /srv/treadle")
        assert done.returncode == 0, done.stderr

    def logs(self) -> str:
        found = sorted(self.folder.glob("*/var/log/*.log"))
        return "\n".join(f"== {log}\n{log.read_text(errors='replace')[-4000:]}" for log in found)

    def _add(self, number: int, name: str, address: str) -> None:
        space, port = f"{self._tag}-{number}", f"{self._tag}p{number}"
        _ip(f"netns add {space}")
        _ip(f"link add {port} type veth peer name eth0 netns {space}")
        _ip(f"link set {port} master {self._tag}br up")
        for words in (f"address add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip(f"-n {space} {words}")
        script = _SET_UP.format(
            name=name,
            place=self.folder / name,
            programs=self._programs,
            checkout=self._checkout,
            tools=self.folder / "tools",
        )
        holder = subprocess.Popen(
            ["ip", "netns", "exec", space, "unshare", "--mount", "--uts", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._holders[name] = holder
        assert holder.stdout is not None
        line = holder.stdout.readline()
        assert line == "ready\n", holder.communicate()[1]
        (self.folder / "tools" / f"{name}.pid").write_text(str(holder.pid))

    def _enter(self, host: str) -> list[str]:
        return ["nsenter", "--target", str(self._holders[host].pid), "--mount", "--uts", "--net"]

    def _environment(self, host: str) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/opt/treadle/current/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder / host / "home"),
            "LANG": "C.UTF-8",
            "PYTHON": self._python,
            "UV": self._uv,
            "UV_OFFLINE": "1",  # there is no way out of this network: what is installed comes from the cache
            "UV_CACHE_DIR": self._cache,
            "UV_LINK_MODE": "hardlink",
        }

    def _write_tools(self) -> None:
        tools = self.folder / "tools"
        tools.mkdir(parents=True)
        root = shlex.quote(str(ROOT))
        run = f"exec {sys.executable} -m tests.integration.deploy.systemctl"
        (tools / "systemctl").write_text(f'#!/bin/sh\nPYTHONPATH={root} {run} "$@"\n')
        enter = f'exec nsenter --target "$(cat {tools}/$host.pid)" --mount --uts --net sh -eu -c "cd && $*"'
        (tools / "ssh").write_text(f"#!/bin/sh\nhost=$1\nshift\nexport HOME={self.folder}/$host/home\n{enter}\n")
        for tool in tools.iterdir():
            tool.chmod(0o755)


def _ip(words: str, *, check: bool = True) -> None:
    subprocess.run(["ip", *words.split()], check=check, capture_output=True)
