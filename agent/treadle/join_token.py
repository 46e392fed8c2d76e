"""The token with which an agent enrols: `treadle-join.` and the name, the authority's digest and a secret.

Whoever has it can enrol once, under this name, within the hour. It can be read in the open but for its secret: an
agent learns from it whom to trust before it has seen the controller.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from typing import Final, Self

from treadle.errors import ConfigError

_PREFIX: Final = "treadle-join."


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a token says; `secret` is in no `repr`."""

    name: str
    authority: str  # SHA-256 of the authority's certificate (DER), in hex
    secret: str = field(repr=False)

    def __str__(self) -> str:
        fields = [self.name, self.authority, self.secret]
        packed = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode())
        return _PREFIX + packed.decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Self:
        """Take a token apart. Raises ConfigError, which never shows it."""
        packed = text.strip().removeprefix(_PREFIX)
        try:
            fields = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
            name, authority, secret = fields
        except (binascii.Error, ValueError, TypeError) as exc:
            raise ConfigError("this is no token of `wfctl agent token create`") from exc
        if not all(isinstance(one, str) for one in (name, authority, secret)):
            raise ConfigError("this is no token of `wfctl agent token create`")
        return cls(name, authority, secret)


def digest(secret: str) -> str:
    """Return what is kept of a secret: it has 256 random bits, so nothing slower is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()
