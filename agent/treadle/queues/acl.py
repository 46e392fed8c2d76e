"""What the Redis users of treadle may do: ACL rules. Set by whoever runs the server, or by the controller.

An agent's user calls the functions and has the commands inside them on its namespace's keys, nothing else: it
can neither load code nor look at other namespaces.
"""

from __future__ import annotations

from treadle.queues.keys import Keys

_AGENT_COMMANDS = (
    *("fcall", "ping", "select", "client|setname", "time", "type", "exists", "del", "expire", "rename"),
    *("hget", "hmget", "hgetall", "hset", "hsetnx", "hdel", "hexists", "hvals", "hincrby"),
    *("sadd", "srem", "scard", "xadd", "xdel", "xlen", "xread", "xrange", "xrevrange", "xsetid", "xtrim"),
)
_CONTROLLER_COMMANDS = ("function|load", "function|list", "info", "config|get", "acl|setuser")


def agent_rules(namespace: str) -> list[str]:
    """Return the rules of an agent's user, without its password."""
    allowed = [f"+{command}" for command in _AGENT_COMMANDS]
    return ["reset", "on", f"~{Keys(namespace).prefix}*", "-@all", *allowed]


def controller_rules(namespace: str) -> list[str]:
    """Return the rules of the controller's user, without its password."""
    return [*agent_rules(namespace), *(f"+{command}" for command in _CONTROLLER_COMMANDS)]
