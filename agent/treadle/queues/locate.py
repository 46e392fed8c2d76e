"""Where the server of a namespace is now: a single server, a Sentinel's master, or the owner of a Cluster slot.

    redis://[[user]:password@]host:port[/db]       rediss://... (TLS)       unix://[:password@]/path
    redis+sentinel://[:password@]host:port[,host:port...]/service[/db]
    redis+cluster://[[user]:password@]host:port[,host:port...]

Asked again after every lost connection and whenever a server says that it is no longer the right one.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from treadle.errors import QueueError
from treadle.queues.keys import Keys

if TYPE_CHECKING:
    import redis.asyncio

# redis-py is imported where it is needed: pool hosts of a single server never do, and start sooner without it.

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")


@dataclass(frozen=True, slots=True)
class Server:
    """The address of one server and how to log in."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None  # of a unix socket
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS settings, None without TLS."""
        return ssl.create_default_context(cafile=self.ca_file) if self.tls else None

    def client(self, **options: Any) -> redis.asyncio.Redis:
        """Return a redis-py client for this server."""
        import redis.asyncio  # noqa: PLC0415

        if self.path:
            return redis.asyncio.Redis(
                unix_socket_path=self.path, db=self.db, username=self.username, password=self.password, **options
            )
        return redis.asyncio.Redis(
            host=self.host,
            port=self.port,
            db=self.db,
            username=self.username,
            password=self.password,
            ssl=self.tls,
            ssl_ca_certs=self.ca_file,
            **options,
        )


class _Login(TypedDict):
    username: str | None
    password: str | None


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    hosts: list[tuple[str, int]]
    path: str
    username: str | None
    password: str | None = field(repr=False)
    ca_file: str | None


def _parse(url: str) -> _Url:
    parts: SplitResult = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        msg = f"A Redis URL begins with one of {', '.join(s + '://' for s in _SCHEMES)}"
        raise QueueError(msg)
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    try:
        hosts = [_host_port(place) for place in places.split(",") if place]
    except ValueError as exc:
        msg = "A Redis URL has a port that is not a number"
        raise QueueError(msg) from exc
    ca_file = next(iter(parse_qs(parts.query).get("ssl_ca_certs", [])), None)
    return _Url(parts.scheme, hosts, unquote(parts.path), unquote(user) or None, unquote(password) or None, ca_file)


def _host_port(place: str) -> tuple[str, int]:
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return host, int(port[1:] or 6379)
    host, _, port = place.partition(":")
    return host, int(port or 6379)


def _db(text: str) -> int:
    return int(text) if text.isdigit() else 0


async def locate(url: str, namespace: str) -> Server:
    """Find the server that holds the namespace. Raises QueueError when nobody knows."""
    parsed = _parse(url)
    login = _Login(username=parsed.username, password=parsed.password)
    first_host, first_port = (parsed.hosts or [("127.0.0.1", 6379)])[0]
    match parsed.scheme:
        case "unix":
            return Server(path=parsed.path, **login)
        case "redis+sentinel":
            return await _ask_sentinel(parsed)
        case "redis+cluster":
            return await _ask_cluster(parsed, namespace)
        case _:
            tls = parsed.scheme == "rediss"
            db = _db(parsed.path.strip("/"))
            return Server(first_host, first_port, db=db, tls=tls, ca_file=parsed.ca_file, **login)


async def _ask_sentinel(url: _Url) -> Server:
    from redis.asyncio.sentinel import Sentinel  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    service, _, db = url.path.strip("/").partition("/")
    sentinel = Sentinel(url.hosts, socket_timeout=2.0, password=None)  # type: ignore[no-untyped-call]
    try:
        host, port = await sentinel.discover_master(service)
    except RedisError as exc:
        raise QueueError(f"Sentinel: {exc}", service=service) from exc
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    return Server(str(host), int(port), db=_db(db), username=url.username, password=url.password)


async def _ask_cluster(url: _Url, namespace: str) -> Server:
    from redis.asyncio.cluster import RedisCluster  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    host, port = url.hosts[0]
    cluster = RedisCluster(host=host, port=port, username=url.username, password=url.password)
    try:
        await cluster.initialize()
        node = cluster.get_node_from_key(Keys(namespace).meta)
    except RedisError as exc:
        raise QueueError(f"Redis Cluster: {exc}", namespace=namespace) from exc
    finally:
        await cluster.aclose()
    if node is None:
        msg = "The Redis Cluster has no server for this namespace"
        raise QueueError(msg, namespace=namespace)
    return Server(str(node.host), int(node.port), username=url.username, password=url.password)
