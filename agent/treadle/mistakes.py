"""Errors of the operating system that stay until somebody mends the configuration or the rights of a file."""

from __future__ import annotations

import errno
from typing import Final

_MISTAKES: Final = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
    }
)


def is_mistake(exc: OSError) -> bool:
    """Return whether trying again is useless; a full disk or an address in use may be better in a moment."""
    return exc.errno in _MISTAKES
