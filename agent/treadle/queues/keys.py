"""Names of keys in Redis, and limits as they stand there. lua/1_library.lua lists the keys with their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from treadle.workflow.plan import QueueLimits


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


def limit_args(limit: QueueLimits) -> tuple[str, str, str]:
    """Return limits as the functions want them."""
    messages = "" if limit.messages is None else str(limit.messages)
    return messages, "" if limit.bytes is None else str(limit.bytes), limit.when_full
