"""Names of keys in Redis. The list with types and meanings heads the function library (lua/1_library.lua)."""

from __future__ import annotations

from typing import NamedTuple


class Keys(NamedTuple):
    """Makes the keys of one namespace; all share one hash tag, so one commit may touch all of them."""

    namespace: str

    @property
    def prefix(self) -> str:
        """What every key of the namespace begins with."""
        return f"{{{self.namespace}}}:"

    @property
    def meta(self) -> str:
        return f"{self.prefix}meta"

    def queue(self, name: str) -> str:
        return f"{self.prefix}q:{name}"

    def record(self, name: str) -> str:
        return f"{self.prefix}q:{name}:m"

    def claims(self, name: str) -> str:
        return f"{self.prefix}q:{name}:c"

    def writers(self, name: str) -> str:
        return f"{self.prefix}q:{name}:open"

    def dead_letters(self, name: str) -> str:
        return f"{self.prefix}q:{name}:dlq"

    def loop(self, key: object) -> str:
        return f"{self.prefix}l:{key}"

    def state(self, key: object, node: str) -> str:
        return f"{self.prefix}s:{key}/{node}"

    def doorbell(self, host: str) -> str:
        return f"{self.prefix}h:{host}"
