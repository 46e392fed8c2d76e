"""Hosts of their own for agents: network namespaces with an address each, on one bridge. Needs root.

with Net(3) as net:
    net.command("a0", [...])     the command, run on host a0
    net.cut("a0"); net.heal("a0")
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

Way = Literal["both", "in", "out"]


def is_possible() -> bool:
    """Whether this machine lets us make network namespaces."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("ip", "iptables"))


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True)


class Net:
    """A bridge, whose address is the hub's, and hosts a0, a1, ... behind it."""

    def __init__(self, hosts: int) -> None:
        self._tag = f"t{os.getpid() % 100_000:x}"
        self._subnet = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        self.hosts = [f"a{number}" for number in range(hosts)]
        self.hub = f"{self._subnet}.1"

    def __enter__(self) -> Self:
        try:
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            _run("ip", "address", "add", f"{self.hub}/24", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
            for number, host in enumerate(self.hosts):
                self._add(host, f"{self._subnet}.{10 + number}")
        except subprocess.CalledProcessError:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take everything down; legal at any time."""
        for host in self.hosts:
            _run("ip", "netns", "delete", self._space(host), check=False)
            _run("ip", "link", "delete", self._port(host), check=False)
        _run("ip", "link", "delete", self._bridge, check=False)

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """Return a command that runs on a host; its process id is the one that is started."""
        return ["ip", "netns", "exec", self._space(host), *command]

    # Faults.

    def cut(self, host: str, way: Way = "both") -> None:
        """Lose every packet of a host, both ways or only those that come in or go out."""
        if way == "both":
            _run("ip", "link", "set", self._port(host), "down")
        else:
            self._rule(host, "INPUT" if way == "in" else "OUTPUT", "-j", "DROP")

    def cut_port(self, host: str, port: int) -> None:
        """Lose every packet from a host to one port of the hub."""
        self._rule(host, "OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP")

    def lose(self, host: str, share: float) -> None:
        """Lose a share of the packets of a host, each way."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP")
        for chain in ("INPUT", "OUTPUT"):
            self._rule(host, chain, *chance)

    def heal(self, host: str) -> None:
        """End all faults of a host's link."""
        _run("ip", "link", "set", self._port(host), "up")
        for chain in ("INPUT", "OUTPUT"):
            _run(*self.command(host, ["iptables", "-F", chain]))

    # The parts.

    def _add(self, host: str, address: str) -> None:
        space, port = self._space(host), self._port(host)
        _run("ip", "netns", "add", space)
        _run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        _run("ip", "link", "set", port, "master", self._bridge, "up")
        for words in (f"address add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _run("ip", "-n", space, *words.split())

    def _rule(self, host: str, chain: str, *rule: str) -> None:
        _run(*self.command(host, ["iptables", "-A", chain, *rule]))

    @property
    def _bridge(self) -> str:
        return f"{self._tag}br"

    def _space(self, host: str) -> str:
        return f"{self._tag}-{host}"

    def _port(self, host: str) -> str:
        return f"{self._tag}{host}"
