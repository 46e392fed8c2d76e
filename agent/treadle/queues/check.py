"""What a server must be like before treadle trusts it with messages. Pure: judges the fields of INFO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    fsync: str = ""  # of the append-only file: "always", "everysec", "no"; "" when not known
    limit_bytes: int = 0  # maxmemory; 0 is none
    run_id: str = ""  # another one after each start of the server


def report(info: Mapping[str, Any]) -> ServerReport:
    """Judge a server by its INFO, and by `save` and `appendfsync` of its configuration where they may be read."""
    name = str(info.get("server_name") or "redis")
    version = str(info.get("valkey_version") if name == "valkey" else info.get("redis_version"))
    policy = str(info.get("maxmemory_policy", ""))
    persistence = _persistence(info)
    fsync = str(info.get("appendfsync", "")) if persistence == "aof" else ""
    return ServerReport(
        name,
        version,
        persistence,
        policy,
        used_bytes=int(info.get("used_memory", 0)),
        refusal=_refusal(name, version, policy),
        warnings=tuple(_warnings(persistence, fsync)),
        fsync=fsync,
        limit_bytes=int(info.get("maxmemory", 0)),
        run_id=str(info.get("run_id", "")),
    )


def _warnings(persistence: str, fsync: str) -> Iterator[str]:
    if persistence == "off":
        yield "Persistence is off: a restart of the server loses every queue."
    if persistence == "rdb":
        yield "Only snapshots are kept: a crash of the server loses what was acknowledged since the last one."
    if fsync == "no":
        yield "appendfsync is no: a power loss loses what the system had not written yet, many seconds perhaps."


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
