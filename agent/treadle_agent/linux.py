"""The few calls of Linux that Python does not wrap."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_M_ARENA_MAX: Final = -8  # of glibc's malloc.h

_TGKILL: Final = {"x86_64": 234, "aarch64": 131}  # the C library may be too old to have a name for it

_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; ends at once when that has happened already.

    The kernel watches the thread that started this process, so parents start children from their main thread.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process, so that it can find and end them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def signal_thread(process: int, thread: int, number: int) -> None:
    """Send a signal to one thread of a process. Raises ProcessLookupError when it is gone."""
    if _libc.syscall(_TGKILL[os.uname().machine], process, thread, number) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def share_arenas(count: int) -> None:
    """Have the C library keep what threads allocate in so few arenas; each holds free memory that no other can use."""
    mallopt = getattr(_libc, "mallopt", None)  # musl has none, and no arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, count)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
