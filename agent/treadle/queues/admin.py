"""What the controller (and tests) do to the queues of one namespace; redis-py underneath."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import redis.asyncio
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - of redis, not of the system
from redis.retry import Retry

from treadle.errors import QueueError
from treadle.queues import envelope, letters, library
from treadle.queues.check import ServerReport, report
from treadle.queues.codec import decode_batch
from treadle.queues.keys import Keys, limit_args
from treadle.queues.locate import locate
from treadle.queues.packing import packing
from treadle.queues.stats import RECORD_FIELDS, DeadLetterEntry, Peeked, QueueStats, read_stats
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import QueueLimits

FORMAT = "1"
_LIFE = 6  # bytes that name a loop's life, from its first assignment to its end
# Done once more, these would do more, or tell of less than they did.
_NOT_TWICE: Final = frozenset(f"{library.NAME}_{function}" for function in ("purge", "replay", "drop"))


class QueueAdmin:
    """Administers the queues of one namespace. Every method raises QueueError when the server can't be asked."""

    def __init__(self, url: str, namespace: str, *, timeout_s: float = 10.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._client: redis.asyncio.Redis | None = None
        self.keys = Keys(namespace)

    @property
    def url(self) -> str:
        """Where the server is; it may hold a password."""
        return self._url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # The server

    async def load_functions(self) -> library.Move:
        """Load the function library where there is none or an older one. For the controller only.

        Returns what was done. Raises QueueError (reason LIBRARY) when a newer one is there that does not serve us.
        """
        found = await self.functions()
        move = library.decide(found, library.source())
        if move is library.Move.REFUSE:
            theirs, ours = library.version_of(found or ""), library.version_of(library.source())
            msg = (
                f"Redis holds version {theirs.number} of treadle's functions, which serves versions from "
                f"{theirs.serves} on; this program brings version {ours.number}: upgrade it"
            )
            raise QueueError(msg, reason="LIBRARY", found=theirs.number, ours=ours.number)
        if move is library.Move.LOAD:
            await self.replace_functions()
        return move

    async def replace_functions(self) -> None:
        """Put our function library in the place of whatever is there, a newer one too."""
        await self.command("FUNCTION", "LOAD", "REPLACE", library.source())

    async def functions(self) -> str | None:
        """Return the source of the library that the server holds, None when there is none."""
        for found in await self.command("FUNCTION", "LIST", "LIBRARYNAME", library.NAME, "WITHCODE"):
            return _text(_fields(found)["library_code"])
        return None

    async def check_server(self) -> ServerReport:
        """Look whether the server can be used: version, eviction, persistence. Raises nothing about what it finds."""
        info = {**await self.command("INFO", "server"), **await self.command("INFO", "persistence")}
        info.update(await self.command("INFO", "memory"))
        with suppress(QueueError):  # managed servers keep their configuration to themselves
            found = _fields(await self.command("CONFIG", "GET", "save", "appendfsync"))
            info |= {name: _text(value) for name, value in found.items()}
        return report(info)

    async def run_id(self) -> str:
        """Return what names this run of the server, another one after each of its starts; "" when it does not say."""
        return str((await self.command("INFO", "server")).get("run_id", ""))

    async def renew_log(self, found: ServerReport) -> bool:
        """Have a server write its append-only file anew, once after each of its starts; return whether it does so.

        A server that was killed may have found half a transaction at the end of its file. Redis 7.0 goes on behind
        it, and would run it at its next start.
        """
        if found.persistence != "aof" or not found.run_id:
            return False
        known = await self.command("HGET", self.keys.meta, "run")
        if known is not None and _text(known) == found.run_id:
            return False
        try:
            await self.command("BGREWRITEAOF")
        except QueueError as exc:
            if "in progress" not in exc.message:
                raise
        await self.command("HSET", self.keys.meta, "run", found.run_id)
        return True

    async def namespace_id(self) -> str:
        """Return the id of this namespace in this Redis; it is made when there is none yet."""
        answer = await self.call("found", secrets.token_hex(8), FORMAT)
        return _text(answer[1])

    async def beat(self, term: int) -> tuple[int, str]:
        """Raise the beat; return it and the namespace's id. A lower beat than before: the server lost writes."""
        answer = await self.call("beat", term)
        _refuse_deposed(answer)
        return int(answer[1]), _text(answer[2])

    # Loops

    async def assign(self, loops: Sequence[tuple[LoopKey, int]], term: int) -> dict[LoopKey, int]:
        """Make epochs current, all in one round trip per 1,000.

        Returns the loops that were refused, with the epoch that is stored: the caller's must go above it.
        """
        refused: dict[LoopKey, int] = {}
        for start in range(0, len(loops), 1000):
            part = loops[start : start + 1000]
            args: list[Any] = [term, secrets.token_hex(8)]
            lives = secrets.token_hex(_LIFE * len(part))  # asked of the kernel once, not a thousand times
            for at, (key, epoch) in enumerate(part):
                args += (str(key), epoch, lives[2 * _LIFE * at : 2 * _LIFE * (at + 1)])
            answer = await self.call("assign", *args)
            _refuse_deposed(answer)
            refused |= {key: stored for (key, _), stored in zip(part, answer[1:], strict=True) if stored}
        return refused

    async def scale(
        self, epochs: Sequence[tuple[LoopKey, int]], queues: Mapping[str, Sequence[LoopKey]], term: int
    ) -> None:
        """Give queues their reader slots and all their loops new epochs, in one step. One slot claims nothing.

        Ranges that removed slots had claimed go to the first slot. Raises QueueError when an epoch is stale.
        """
        nonce = secrets.token_hex(8)
        args: list[Any] = [term, len(epochs)]
        for key, epoch in epochs:
            args += (str(key), epoch, nonce)
        args.append(len(queues))
        for name, slots in queues.items():
            args += (name, len(slots), *map(str, slots))
        answer = await self.call("scale", *args)
        _refuse_deposed(answer)
        if answer[0] != b"OK":
            msg = "A loop's epoch is not above the one in Redis"
            raise QueueError(msg, loop=_text(answer[1]), stored=int(answer[2]))

    async def slots(self, queues: Sequence[str]) -> dict[str, tuple[LoopKey, ...]]:
        """Return the reader slots that queues were given by `scale`; those that never were are left out."""
        told: dict[str, tuple[LoopKey, ...]] = {}
        for start in range(0, len(queues), 1000):
            answer = await self.call("slots", *queues[start : start + 1000])
            for name, who in zip(answer[1::2], answer[2::2], strict=True):
                told[_text(name)] = tuple(LoopKey.parse(slot) for slot in _text(who).split())
        return told

    async def forget(self, *keys: LoopKey) -> None:
        """Begin new lives for loops that do not run: state, iterations and completion are forgotten."""
        lives = secrets.token_hex(_LIFE * len(keys))
        parts = (lives[at : at + 2 * _LIFE] for at in range(0, len(lives), 2 * _LIFE))
        await self._call_each("forget", [(str(key), life, 0) for key, life in zip(keys, parts, strict=True)])

    async def reopen(self, key: LoopKey) -> None:
        """Let a loop that has completed run again from its state. Enter it as a writer afterwards."""
        await self.call("forget", str(key), "", 1)

    # Queues

    async def enter_writers(
        self, queues: Mapping[str, Iterable[LoopKey]], drop: Mapping[str, Iterable[LoopKey]] | None = None
    ) -> None:
        """Enter the writers of a revision, before any of its loops is assigned, and take out those that it drops."""
        drop = drop or {}
        args: list[Any] = []
        for name in dict.fromkeys((*queues, *drop)):
            come, go = [str(k) for k in queues.get(name, ())], [str(k) for k in drop.get(name, ())]
            args += (name, len(come), *come, len(go), *go)
        if args:
            await self.call("enter", *args)

    async def set_limits(self, limits: Mapping[str, QueueLimits]) -> None:
        """Set the limits of queues; whoever waits for room looks again."""
        args: list[Any] = []
        for name, limit in limits.items():
            args += (name, *limit_args(limit))
        if args:
            await self.call("limit", *args)

    async def depths(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        """Return the figures of queues."""
        client = await self._ready()
        pipe = client.pipeline(transaction=False)
        for name in queues:
            pipe.hmget(self.keys.record(name), list(RECORD_FIELDS))
        try:
            records = await pipe.execute()
        except (RedisError, OSError) as exc:
            raise _failed(exc) from exc
        now_ms = time.time() * 1000
        return {name: read_stats(record, now_ms) for name, record in zip(queues, records, strict=True)}

    async def peek(self, queue: str, n: int = 10) -> list[Peeked]:
        """Return the first n waiting messages of a queue, decoded, and leave them there."""
        first, nmax = await self.command("HMGET", self.keys.record(queue), "next", "nmax")
        at, widest = int(first or 1), int(nmax or 1)
        found = await self.command(
            "XRANGE", self.keys.queue(queue), f"{max(1, at - widest + 1)}-0", "+", "COUNT", min(n + widest, 10_000)
        )
        peeked: list[Peeked] = []
        for ident, fields in found or ():
            flat = [part for pair in fields.items() for part in pair] if isinstance(fields, dict) else fields
            entry = envelope.parse([ident, flat])
            if entry is None:
                continue
            for i, item in enumerate(decode_batch(entry.data, entry.size)):
                if entry.first + i >= at and len(peeked) < n:
                    peeked.append(Peeked(entry.first + i, item))
        return peeked

    async def push(self, queue: str, items: Sequence[bytes], producer: str = "", sequence: int = 0) -> int | None:
        """Push encoded items from outside; return the number of the first, None when this sequence was pushed before.

        `sequence` rises with every push of one `producer`. Raises QueueError (reason FULL) when there is no room.
        """
        size = sum(map(len, items))
        if not items:
            return None
        packed = envelope.entries(items, size)
        parts = [part for count, data in packed for part in (count, data.whole())]
        # The client sends a call again whose answer it missed: without a producer's memory that would push twice.
        once = producer or f"~{secrets.token_hex(8)}"
        answer = await self.call("push", queue, once, sequence or 1, len(items), size, len(packed), *parts)
        match answer[0]:
            case b"OK":
                return int(answer[1])
            case b"DUPLICATE" if producer:
                return None
            case b"DUPLICATE":
                return int(answer[2])
            case b"FULL":
                msg = f"The queue {queue} is full"
                raise QueueError(msg, queue=queue, reason="FULL")
            case code:
                msg = f"The queue {queue} refused the messages: {_text(code)}"
                raise QueueError(msg, queue=queue, reason=_text(code))

    async def purge(self, queue: str) -> int:
        """Drop what waits in a queue and is not claimed; return how many messages."""
        return int((await self._checked("purge", queue))[1])

    async def delete(self, *queues: str) -> None:
        """Remove queues that nobody uses, their dead letters included."""
        await self._call_each("delete", [(queue,) for queue in queues])

    async def mirror(self, queues: Mapping[str, bytes], *, whole: bool = False) -> None:
        """Write the dictionary's entries (JSON; empty: take it out) for programs outside; `whole`: these are all."""
        args = [part for pair in queues.items() for part in pair]
        for start in range(0, len(args), 2000):
            await self.call("mirror", int(whole and start == 0), *args[start : start + 2000])
        if whole and not args:
            await self.call("mirror", 1)

    # Dead letters

    async def dead_letters(self, queue: str, n: int = 100, after: str = "-") -> list[DeadLetterEntry]:
        """Return dead letters of a queue, oldest first, from behind an id on."""
        start = after if after == "-" else f"({after}"
        found = await self.command("XRANGE", self.keys.dead_letters(queue), start, "+", "COUNT", n)
        return [DeadLetterEntry.read(ident, fields) for ident, fields in found or ()]

    async def dead_letter(self, queue: str, name: str) -> DeadLetterEntry | None:
        """Return one dead letter by its id, or the first one of an iteration by that."""
        if letters.is_id(name):
            found = await self.command("XRANGE", self.keys.dead_letters(queue), name, name)
            return next((DeadLetterEntry.read(ident, fields) for ident, fields in found or ()), None)
        page = await self.dead_letters(queue, letters.PAGE)
        while page:
            for letter in page:
                if letter.iteration == name:
                    return letter
            page = await self.dead_letters(queue, letters.PAGE, page[-1].id)
        return None

    async def replay(self, queue: str, name: str = "") -> int:
        """Take the dead letters of one iteration back to their queues' tails, in one step; return how many.

        `name` is the iteration's id, or that of any of its letters; "": all letters that there are now, an iteration
        in a step. Raises QueueError (reason FULL) when a queue has no room for the next; the others are back then.
        """
        return await letters.take(self, "replay", queue, name)

    async def drop_dead(self, queue: str, name: str = "") -> int:
        """Drop the dead letters of one iteration, or all; return how many. `name` as for `replay`."""
        return await letters.take(self, "drop", queue, name)

    # Plumbing

    async def call(self, function: str, *args: Any) -> Any:
        """Call a function of the library with the namespace's prefix first."""
        return await self.command(*self._words(function, *args))

    async def command(self, *args: Any) -> Any:
        """Send one command, once more when it finds that its connection is gone. Raises QueueError."""
        client = await self._ready()
        try:
            return await client.execute_command(*args)  # type: ignore[no-untyped-call]
        except ConnectionError as exc:
            # The first call after a restart of the server. Whether it was done is not known.
            if args[0] == "FCALL" and args[1] in _NOT_TWICE:
                raise _failed(exc) from exc
        except (RedisError, OSError) as exc:
            raise _failed(exc) from exc
        try:
            return await client.execute_command(*args)  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as exc:
            raise _failed(exc) from exc

    async def _call_each(self, function: str, calls: Sequence[tuple[Any, ...]]) -> None:
        """Call a function that may be called again many times, in one round trip per 500. Raises QueueError."""
        client = await self._ready()
        for start in range(0, len(calls), 500):
            pipe = client.pipeline(transaction=False)
            for args in calls[start : start + 500]:
                pipe.execute_command(*self._words(function, *args))
            try:
                await pipe.execute()
            except (RedisError, OSError) as exc:
                raise _failed(exc) from exc

    def _words(self, function: str, *args: Any) -> tuple[Any, ...]:
        return "FCALL", f"{library.NAME}_{function}", 1, self.keys.meta, self.keys.prefix, *args

    async def _checked(self, function: str, *args: Any) -> Any:
        answer = await self.call(function, *args)
        if answer[0] != b"OK":
            msg = f"The queue refused {function}: {_text(answer[0])}"
            raise QueueError(msg, reason=_text(answer[0]), queue=str(args[0]))
        return answer

    async def _ready(self) -> redis.asyncio.Redis:
        if self._client is None:
            server = await locate(self._url, self.keys.namespace)
            self._client = server.client(
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 5),
            )
            pool: Any = self._client.connection_pool
            pool.connection_class = packing(pool.connection_class)
        return self._client


def _fields(raw: Any) -> dict[str, Any]:
    """Return a map that came as one, or as a list of names and values."""
    pairs = raw.items() if isinstance(raw, Mapping) else zip(raw[::2], raw[1::2], strict=True)
    return {_text(name): value for name, value in pairs}


def _text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def _refuse_deposed(answer: Any) -> None:
    if answer[0] == b"DEPOSED":
        msg = "Another controller with a higher term leads this namespace"
        raise QueueError(msg, reason="DEPOSED", term=int(answer[1]))


def _failed(exc: Exception) -> QueueError:
    unloaded = "Function not found" in str(exc)
    return QueueError(f"Redis: {exc}", reason="UNLOADED" if unloaded else type(exc).__name__)
