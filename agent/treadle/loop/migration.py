"""State that another version of a node wrote: recognised, and upgraded by the node's own `migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.errors import StateVersionError
from treadle.loop.state import VERSION_KEY
from treadle.queues.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.node import Node


def migrated(node_id: str, node: Node[Any], stored: Mapping[str, bytes]) -> dict[str, bytes] | None:
    """Return the state as the node's class wants it, or None when it is so already.

    Raises StateVersionError when the node can't migrate it.
    """
    written_by = 1 if VERSION_KEY not in stored else decode(stored[VERSION_KEY])
    if not stored or written_by == node.state_version:
        return None
    values = {key: decode(value) for key, value in stored.items() if key != VERSION_KEY}
    try:
        upgraded = node.migrate(values, written_by)
    except NotImplementedError as exc:
        raise StateVersionError(str(exc), node=node_id, stored=written_by, wanted=node.state_version) from exc
    return {key: encode(value) for key, value in upgraded.items()} | {VERSION_KEY: encode(node.state_version)}


def changes(
    node_id: str, stored: Mapping[str, bytes], upgraded: Mapping[str, bytes]
) -> dict[tuple[str, str], bytes | None]:
    """Return the commit that makes the stored state the upgraded one."""
    return {(node_id, key): upgraded.get(key) for key in {*stored, *upgraded} if stored.get(key) != upgraded.get(key)}
