"""Who calls."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ANY_NAMESPACE: Final = "*"


class Role(enum.StrEnum):
    """What a caller is in a namespace. `NOBODY` has shown nothing that is good."""

    NOBODY = "nobody"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody at the other end of a call: an agent, a client, or whoever is local where no identity is asked for."""

    kind: str  # agent, client, local, nobody
    name: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)  # of a client, by namespace
    address: str = ""
    issued: float = 0.0  # when what it has shown was given out, in seconds since the epoch
    expires: float = float("inf")

    def role(self, namespace: str) -> Role:
        """Return the role in a namespace."""
        if self.kind == "agent":
            return Role.AGENT
        if self.kind == "local":
            return Role.ADMIN
        return self.roles.get(namespace) or self.roles.get(ANY_NAMESPACE) or Role.NOBODY

    def __str__(self) -> str:
        who = f"{self.kind} {self.name}" if self.name else self.kind
        return f"{who} from {self.address}" if self.address else who
