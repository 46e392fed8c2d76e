"""What a server must be like before treadle trusts it with messages. Pure: judges the fields of INFO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_OLDEST = {"redis": (7, 0), "valkey": (8, 0)}


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What was found. With `refusal` the server must not be used; `warnings` are for people."""

    name: str
    version: str
    persistence: str  # "aof", "rdb" or "off"
    policy: str
    used_bytes: int
    refusal: str | None
    warnings: tuple[str, ...]


def report(info: Mapping[str, Any]) -> ServerReport:
    """Judge a server by its INFO, and by `save` of its configuration where that may be read."""
    name = str(info.get("server_name") or "redis")
    version = str(info.get("valkey_version") if name == "valkey" else info.get("redis_version"))
    policy = str(info.get("maxmemory_policy", ""))
    persistence = _persistence(info)
    warnings = () if persistence != "off" else ("Persistence is off: a restart of the server loses every queue.",)
    used = int(info.get("used_memory", 0))
    return ServerReport(name, version, persistence, policy, used, _refusal(name, version, policy), warnings)


def _persistence(info: Mapping[str, Any]) -> str:
    if str(info.get("aof_enabled")) == "1":
        return "aof"
    return "rdb" if info.get("save") else "off"


def _refusal(name: str, version: str, policy: str) -> str | None:
    oldest = _OLDEST.get(name, _OLDEST["redis"])
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < oldest:
        return f"{name} {version} is too old: treadle needs Redis 7.0 or Valkey 8."
    if policy != "noeviction":
        return f"maxmemory-policy is {policy}, which would throw messages away: set it to noeviction."
    return None
