"""Runs a command under the restrictions of a unit, as far as the kernel gives them to somebody who is not systemd.

A script of the standard library: `python -I box.py SPEC`, as root. SPEC is JSON, see `Spec`. Kept from a unit: user
without capabilities, read-only system with private /tmp and no homes, hidden processes, read-only kernel settings,
limits, no memory that is written and executed, the filters of system calls and address families. Not kept: what lives
in control groups (devices, tasks, memory), PrivateDevices, PrivateUsers and RestrictSUIDSGID.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Final, TypedDict

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NEW_NAMESPACES: Final = 0x00020000 | 0x08000000  # mounts, IPC
_RDONLY, _BIND, _REC, _PRIVATE = 0x1, 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR: Final = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_EQUAL, _EQUAL_UNDER_MASK = 4, 7
_NAMESPACES: Final = (0x80, *(1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)))
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 24, 38, 65
_HIGHEST_FAMILY: Final = 46
_EMPTIED: Final = ("/home", "/opt", "/root", "/run", "/tmp", "/var/lib", "/var/tmp")


class Spec(TypedDict):
    """What to run, and how."""

    command: list[str]
    environment: dict[str, str]
    folder: str
    user: int
    umask: int
    limits: dict[str, int]  # of files and cores: "NOFILE", "CORE"
    shown: dict[str, str]  # by place: what is mounted there, read-only
    written: dict[str, str]  # the same, writable
    system_calls: list[str]
    families: list[str]


def _check(answer: int, what: str) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    answer = _LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(answer, f"mount {source} {target}")


def _set_read_only(target: str, *, on: bool, deep: bool = True) -> None:
    attributes = (ctypes.c_uint64 * 4)(*((1, 0) if on else (0, 1)), 0, 0)
    flags = _AT_RECURSIVE if deep else 0
    _check(_LIBC.syscall(_MOUNT_SETATTR, _AT_FDCWD, target.encode(), flags, attributes, 32), f"protect {target}")


def _bind(source: str, target: str) -> None:
    place = Path(target)
    if Path(source).is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(source, target, "", _BIND | _REC)


def _enter_file_systems(spec: Spec) -> None:
    _check(_LIBC.unshare(_NEW_NAMESPACES), "unshare")
    _mount("none", "/", "", _REC | _PRIVATE)
    held = {place: os.open(source, os.O_PATH) for place, source in {**spec["shown"], **spec["written"]}.items()}
    for folder in _EMPTIED:
        _mount("tmpfs", folder, "tmpfs", 0, f"mode={'1777' if folder.endswith('tmp') else '755'}")
    for place, descriptor in held.items():
        _bind(f"/proc/self/fd/{descriptor}", place)
        os.close(descriptor)
    _set_read_only("/", on=True)
    for place in (*spec["written"], "/tmp", "/var/tmp", "/dev"):
        _set_read_only(place, on=False)
    _mount("proc", "/proc", "proc", 0, "hidepid=invisible")
    for tunable in ("/proc/sys", "/proc/irq", "/proc/bus"):
        _mount(tunable, tunable, "", _BIND)
        _set_read_only(tunable, on=True)


def _become(spec: Spec) -> None:
    for name, value in spec["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        most = resource.getrlimit(kind)[1]  # a container's root may not be allowed more
        given = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (given, given))
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        _check(_LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "drop capabilities")
    os.setgroups([])
    os.setgid(spec["user"])
    os.setuid(spec["user"])
    os.umask(spec["umask"])
    os.chdir(spec["folder"])
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    _check(_LIBC.prctl(_PR_SET_MDWE, 1, 0, 0, 0), "no memory that is written and executed")


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _Filter:
    """A filter of system calls: what it does unless a rule says otherwise, and its rules."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(otherwise))

    def rule(self, action: int, call: str, *comparisons: _Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # what this machine does not have needs no rule
        array = (_Comparison * len(comparisons))(*comparisons)
        answer = self._library.seccomp_rule_add_array(self._context, action, number, len(comparisons), array)
        if answer < 0:
            raise OSError(-answer, f"{call}: {os.strerror(-answer)}")

    def load(self) -> None:
        answer = self._library.seccomp_load(self._context)
        if answer < 0:
            raise OSError(-answer, f"filter: {os.strerror(-answer)}")


def _arguments(spec: Spec) -> _Filter:
    """Return what looks at arguments: families of sockets, and (RestrictNamespaces=yes) new namespaces."""
    found = _Filter(_ALLOW)
    allowed = {int(getattr(socket, name)) for name in spec["families"]}
    for family in set(range(_HIGHEST_FAMILY)) - allowed:
        found.rule(_REFUSE | errno.EAFNOSUPPORT, "socket", _Comparison(0, _EQUAL, family, 0))
    for flag in _NAMESPACES:
        for call in ("clone", "unshare"):
            found.rule(_REFUSE | errno.EPERM, call, _Comparison(0, _EQUAL_UNDER_MASK, flag, flag))
    found.rule(_REFUSE | errno.EPERM, "setns")
    found.rule(_REFUSE | errno.ENOSYS, "clone3")  # as systemd does: its flags are out of a filter's sight
    return found


def _calls(spec: Spec) -> _Filter:
    found = _Filter(_REFUSE | errno.EPERM)
    for name in spec["system_calls"]:
        found.rule(_ALLOW, name)
    return found


def main() -> None:
    """Enter the box and become the command."""
    spec: Spec = json.loads(sys.argv[1])
    _enter_file_systems(spec)
    _become(spec)
    for loaded in (_arguments(spec), _calls(spec)):
        loaded.load()
    os.execve(spec["command"][0], spec["command"], spec["environment"])


if __name__ == "__main__":
    main()
