"""What the Redis users of treadle may do: ACL rules. Set by whoever runs the server (`treadle-controller redis acl`).

An agent's user calls the functions and has the commands inside them on its namespace's keys, nothing else: it
can neither load code nor look at other namespaces. The controller's user loads the functions, asks the server
how it is, and has it write its append-only file anew, too.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from treadle.queues.keys import Keys

Role = Literal["agent", "controller"]

_AGENT_COMMANDS: Final = (
    *("fcall", "ping", "select", "client|setname", "time", "type", "exists", "del", "expire", "rename"),
    *("hget", "hmget", "hgetall", "hset", "hsetnx", "hdel", "hexists", "hvals", "hincrby"),
    *("sadd", "srem", "scard", "xadd", "xdel", "xlen", "xread", "xrange", "xrevrange", "xsetid", "xtrim"),
)
_CONTROLLER_COMMANDS: Final = ("function|load", "function|list", "info", "config|get", "bgrewriteaof")


def agent_rules(namespace: str) -> list[str]:
    """Return the rules of an agent's user, without its password."""
    allowed = [f"+{command}" for command in _AGENT_COMMANDS]
    return ["reset", "on", f"~{Keys(namespace).prefix}*", "-@all", *allowed]


def controller_rules(namespace: str) -> list[str]:
    """Return the rules of the controller's user, without its password."""
    return [*agent_rules(namespace), *(f"+{command}" for command in _CONTROLLER_COMMANDS)]


def rules(role: Role, namespace: str, password: str | None = None) -> list[str]:
    """Return the rules of a user; of its password they hold the hash. Without one nobody can log in."""
    own = agent_rules(namespace) if role == "agent" else controller_rules(namespace)
    return own if password is None else [*own, f"#{hashlib.sha256(password.encode()).hexdigest()}"]


def user_name(role: Role, namespace: str) -> str:
    """Return what a user is called unless somebody says otherwise."""
    return f"treadle-{role}-{namespace}"


def setuser(name: str, own: list[str]) -> str:
    """Return the command that makes a user, as redis-cli and an aclfile's reader take it."""
    return " ".join(["ACL", "SETUSER", name, *own])
