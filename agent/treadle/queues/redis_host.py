"""What one pool host shares between its loops: two connections to the queues of one namespace.

One connection commits for all loops, the other one listens (see feed.py). Tasks of an asyncio host use it on
their own event loop; thread hosts and loop processes use `RedisHost.in_thread`, which runs it in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from treadle import failpoints
from treadle.endings import end
from treadle.errors import QueueError, TenureLost
from treadle.queues import incarnation
from treadle.queues.feed import Feed
from treadle.queues.group import Writer
from treadle.queues.guard import Asked, Guard
from treadle.queues.incarnation import Incarnation
from treadle.queues.keys import Keys
from treadle.queues.line import Line
from treadle.queues.pipeline import Commit
from treadle.queues.reader import Reader
from treadle.queues.redis_tenure import RedisTenure
from treadle.queues.watch import Watch
from treadle.queues.wire import GONE, Wire, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.queues.redis_thread import ThreadedRedisHost
    from treadle.queues.tenure import Tenure, TenureSpec

T = TypeVar("T")
_TICK_S = 0.5
_KEEP_BELL_S = 5.0
_STUCK_S = 10.0  # a call without an answer for so long: the connection is taken to be dead
_LISTEN_STUCK_S = 15.0
_FAREWELL_S = 1.0  # for the last word about a loop; without it the next incarnation is careful
_hosts: weakref.WeakSet[RedisHost] = weakref.WeakSet()


class RedisHost:
    """See the module, and treadle.queues.tenure.QueueHost.

    `expected_id` is the namespace's id in Redis as the controller knows it; with another one no loop opens.
    """

    def __init__(
        self, url: str, namespace: str, host_name: str, *, expected_id: str | None = None, threaded: bool = False
    ) -> None:
        self.namespace = namespace
        self.keys = Keys(namespace)
        # Two processes never share a doorbell, not even one after the other.
        self.name = re.sub(r"[^A-Za-z0-9._-]", "-", host_name)[:64] + "~" + secrets.token_hex(4)
        self.wrong: TenureLost | None = None
        self._id = expected_id
        self._commits = Line(url, namespace, f"treadle-commit-{self.name}", self._greet, shared=threaded)
        self._feed = Feed(
            self.keys,
            self.name,
            url,
            self._commits,
            on_room=self._room,
            on_connected=self._room_anywhere,
            lose=self._lose_reader,
            threaded=threaded,
        )
        self._tenures: dict[int, RedisTenure] = {}
        self._run_task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._stopped = False
        self._hand = threading.Lock()  # held by the thread that asks a pipeline what is due
        self._side: set[asyncio.Task[None]] = set()
        self._before_send = failpoints.armed("commit.before-send")
        self._after_send = failpoints.armed("commit.after-send")
        self._after_answer = failpoints.armed("commit.after-answer")

    @staticmethod
    def in_thread(url: str, namespace: str, host_name: str, *, expected_id: str | None = None) -> ThreadedRedisHost:
        """Return a started host that runs in a thread of its own. Raises QueueError like `start`."""
        from treadle.queues.redis_thread import ThreadedRedisHost  # noqa: PLC0415 it imports this module

        return ThreadedRedisHost(RedisHost(url, namespace, host_name, expected_id=expected_id, threaded=True))

    @property
    def trouble(self) -> str | None:
        """Why Redis can't be used at the moment, None when it can."""
        return self._commits.trouble or self._feed.line.trouble

    async def start(self, timeout_s: float = 10.0) -> None:
        """Connect. Raises QueueError when Redis does not answer in time."""
        if self._run_task is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        _hosts.add(self)
        self._run_task = self._loop.create_task(self._run(), name=f"queues of {self.namespace}")
        try:
            async with asyncio.timeout(timeout_s):
                await self._commits.up.wait()
                await self._feed.line.up.wait()
        except TimeoutError as exc:
            trouble = self.trouble
            await self.stop()
            raise QueueError(f"Redis does not answer: {trouble or 'timeout'}") from exc

    async def stop(self) -> None:
        """Close the connections; every tenure is lost."""
        self._stopped = True
        task, self._run_task = self._run_task, None
        if task is not None:
            with contextlib.suppress(QueueError, TimeoutError):
                if self._commits.up.is_set():
                    await self._commits.ask("DEL", self.keys.doorbell(self.name), timeout_s=0.5)
            await end(task)
        self._lose_all("stopped", "The host of this loop was stopped.")
        _hosts.discard(self)

    async def open(self, spec: TenureSpec) -> RedisTenure:
        """Incarnate a loop under its epoch and load its state. Raises TenureLost, or QueueError without an answer."""
        if self.wrong is not None:
            raise self.wrong
        if self._stopped or self._run_task is None:
            msg = "This host of queues is not running."
            raise QueueError(msg)
        found = await self._incarnate(spec, None, secrets.token_hex(6))
        for node in spec.stateful:
            pairs = await self._commits.ask("HGETALL", self.keys.state(spec.key, node))
            names = (name.decode() for name in pairs[::2])
            found.state[node] = dict(zip(names, pairs[1::2], strict=True))
        writer = Writer(self.keys.prefix, str(spec.key), self.name, tuple(spec.writes))
        tenure = RedisTenure(spec, found, writer, namespace=self.namespace, send=self._kick, ask=self._want)
        self._tenures[id(tenure)] = tenure
        self._feed.count_loops(len(self._tenures))
        self._suspect(tenure, found)
        for read in found.reads:
            self._feed.add(tenure.readers[read.queue], has_data=read.tail > read.first)
        return tenure

    async def close(self, tenure: Tenure) -> None:
        """Let go of a loop; what it had not committed is forgotten."""
        own = self._tenures.pop(id(tenure), None)
        if own is None:
            return
        self._feed.count_loops(len(self._tenures))
        if own.lost is None:
            with contextlib.suppress(QueueError):
                await self._ask_loop("treadle_let_go", own, timeout_s=_FAREWELL_S)
        self._lose(own, TenureLost("The tenure was closed.", reason="closed", loop=str(own.key)))

    async def _incarnate(self, spec: TenureSpec, inc: int | None, nonce: str) -> Incarnation:
        if inc is None:
            stored = await self._commits.ask("HMGET", self.keys.loop(spec.key), "epoch", "inc")
            epoch, inc = int(stored[0] or 0), int(stored[1] or 0)
            if epoch != spec.epoch:
                raise incarnation.lost([b"FENCED", epoch, inc], spec)
        call = incarnation.request(self.keys, spec, inc, nonce, self.name)
        return incarnation.read(await self._commits.ask(*call), spec, nonce)

    # Suspicion

    def _suspect(self, tenure: RedisTenure, found: Incarnation) -> None:
        """Put a guard before the readers if a message may have ended the incarnation before."""
        suspicion, suspect = tenure.spec.suspicion, tenure.spec.suspicion.suspect
        tails = {read.queue: read.tail for read in found.reads if read.counted or read.tail > read.first}
        careful = suspicion.careful and found.unclean and tails
        if found.has_passed(*suspect) if suspect is not None else not careful:
            return
        ask = partial(self._from_anywhere, partial(self._ask_guard, tenure))
        tenure.guard = Guard(tenure, suspicion, tails, tenure.spec.max_in_flight, ask)

    def _ask_guard(self, tenure: RedisTenure, asked: Asked) -> None:
        self._spawn(self._deliver(tenure, asked))

    async def _deliver(self, tenure: RedisTenure, asked: Asked) -> None:
        try:
            answer = await self._ask_loop("treadle_deliver", tenure, asked.queue, asked.number)
        except QueueError:
            asked.answer(1)  # a library that does not know how to count
            return
        if answer[0] == b"OK":
            asked.answer(int(answer[1]))
        else:
            self._lose(tenure, TenureLost("Another instance of the loop has taken over.", loop=str(tenure.key)))

    async def _ask_loop(self, function: str, tenure: RedisTenure, *args: Any, timeout_s: float = 30.0) -> Any:
        keys, fence = self.keys, (tenure.epoch, tenure.pipeline.inc)
        call = ("FCALL", function, 1, keys.loop(tenure.key), keys.prefix, str(tenure.key), *fence, *args)
        return await self._commits.ask(*call, timeout_s=timeout_s)

    # The connections

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._commits.run(), name="commit connection")
                group.create_task(self._feed.line.run(), name="feed connection")
                group.create_task(self._feed.run(), name="feed")
                group.create_task(self._tick(), name="queue upkeep")
        finally:
            # A side task that died must not leave loops waiting for ever.
            self._lose_all("stopped", "The host of this loop has stopped.")

    async def _tick(self) -> None:
        kept = time.monotonic()
        watch = {self._commits: Watch(_STUCK_S), self._feed.line: Watch(_LISTEN_STUCK_S)}
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            self._feed.cool()
            self._feed.look_again()
            if now - kept >= _KEEP_BELL_S:
                kept = now
                self._feed.keep_bell()
            for line, stuck in watch.items():
                if line.wire is not None and stuck.look(line.wire, now):
                    line.abort()

    async def _greet(self, wire: Wire) -> None:
        found = await request(wire, "HGET", self.keys.meta, "id")
        ident = found.decode() if found else None
        if self._id is None:
            self._id = ident
        elif ident != self._id:
            self.wrong = TenureLost("This Redis holds another namespace of the same name.", reason="wrong-redis")
            self._lose_all("wrong-redis", str(self.wrong))
        # The line is up as soon as this returns; what was under way is sent again, byte for byte.
        asyncio.get_running_loop().call_soon(self._resend)

    def _resend(self) -> None:
        for tenure in list(self._tenures.values()):
            tenure.pipeline.disconnected()
            self._flush(tenure)
        self._feed.ask_all()

    # Commits

    def _kick(self, tenure: RedisTenure) -> None:
        if threading.get_ident() == self._thread or not self._flush_here(tenure):
            self._from_anywhere(self._flush, tenure)

    def _flush_here(self, tenure: RedisTenure) -> bool:
        """Send what is due from the loop's own thread, a turn sooner than from ours. False when that can't be done."""
        # Only `due` may be called here. A loop asks when nothing flies, so we do nothing else to its pipeline
        # meanwhile; should we ask for what is due at the same moment, one of us gets nothing.
        wire = self._commits.wire
        if not (wire is not None and wire.direct and tenure.lost is None):
            return False
        with self._hand:
            commit = tenure.pipeline.due(time.monotonic())
        if commit is not None:
            self._send(tenure, commit, wire)
        return commit is not None

    def _want(self, reader: Reader) -> None:
        self._from_anywhere(self._feed.want, reader)

    def _from_anywhere(self, call: Callable[[T], None], subject: T) -> None:
        loop = self._loop
        if loop is None:
            return
        if threading.get_ident() == self._thread:
            loop.call_soon(call, subject)
        else:
            with contextlib.suppress(RuntimeError):  # the host was stopped: the tenure is lost, and says so
                loop.call_soon_threadsafe(call, subject)

    def _flush(self, tenure: RedisTenure) -> None:
        if tenure.lost is not None:
            return
        pipeline = tenure.pipeline
        now = time.monotonic()
        with self._hand:
            commit = pipeline.due(now)
        if commit is not None:
            self._send(tenure, commit)
        elif pipeline.flying is None and (now >= pipeline.not_before or not pipeline.waiting):
            # Nothing waited a moment ago. The loop's thread may append at any point of these lines.
            tenure.asked = False
            if pipeline.waiting:
                tenure.asked = True
                self._kick(tenure)
        elif now < pipeline.not_before:
            loop = asyncio.get_running_loop()
            loop.call_later(pipeline.not_before - now, self._flush, tenure)

    def _send(self, tenure: RedisTenure, commit: Commit, directly: Wire | None = None) -> None:
        if self._before_send is not None:
            self._before_send()
        heard = partial(self._answered, tenure, commit)
        if directly is None:
            self._commits.send(commit.payload, heard)
        elif not directly.send_directly(commit.payload, heard):
            # It counts as sent. Should it be sent again before this, it is there twice, which changes nothing.
            self._from_anywhere(partial(self._commits.send, commit.payload), heard)
        if self._after_send is not None:
            self._after_send()

    def _answered(self, tenure: RedisTenure, commit: Commit, answer: Any) -> None:
        pipeline = tenure.pipeline
        if pipeline.flying is not commit or not commit.on_wire:
            return
        if answer is GONE:
            commit.on_wire = False
            return
        done = pipeline.answered(answer, time.monotonic())
        if done is not None:
            tenure.settle(done)
            if self._after_answer is not None:
                self._after_answer()
        elif pipeline.lost is not None:
            self._lose(tenure, pipeline.lost)
        elif pipeline.want_inc:
            self._spawn(self._refence(tenure))
        elif pipeline.astray:
            self._commits.abort()  # it comes back to where the namespace is now
        self._flush(tenure)
        tenure.wake()

    async def _refence(self, tenure: RedisTenure) -> None:
        pipeline = tenure.pipeline
        try:
            found = await self._incarnate(tenure.spec, pipeline.inc, secrets.token_hex(6))
        except (TenureLost, QueueError) as exc:
            lost = exc if isinstance(exc, TenureLost) else TenureLost(str(exc), reason="unreachable")
            self._lose(tenure, lost)
            return
        tenure.inc = found.inc
        done = pipeline.refenced(found.inc, found.seq, found.nonce, time.monotonic())
        if done is not None:
            tenure.settle(done)
        self._flush(tenure)
        tenure.wake()

    def _spawn(self, coro: Any) -> None:
        task = asyncio.get_running_loop().create_task(coro)
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    def _room(self, queue: str) -> None:
        for tenure in list(self._tenures.values()):
            if tenure.pipeline.room(queue):
                self._flush(tenure)
                tenure.wake()

    def _room_anywhere(self) -> None:
        # Between two connections to the doorbell nobody heard it.
        for tenure in list(self._tenures.values()):
            if tenure.pipeline.look_again():
                self._flush(tenure)
                tenure.wake()

    # Losing

    def _lose_reader(self, reader: Reader, why: TenureLost) -> None:
        self._lose(reader.tenure, why)

    def _lose(self, tenure: RedisTenure, why: TenureLost) -> None:
        if tenure.lost is None:
            tenure.lost = why
        for reader in tenure.readers.values():
            self._feed.drop(reader)
        tenure.wake()

    def _lose_all(self, reason: str, sentence: str) -> None:
        for tenure in list(self._tenures.values()):
            self._lose(tenure, TenureLost(sentence, reason=reason, loop=str(tenure.key)))

    def _forked(self) -> None:
        # In a copy of this process: the loop may not be committed from two places.
        for line in (self._commits, self._feed.line):
            if line.wire is not None:
                line.wire.close_copy()
                line.wire = None
        for tenure in self._tenures.values():
            tenure.ear = None
            tenure.lost = TenureLost("This process is a copy of the one that runs the loop.", reason="forked")


def _after_fork() -> None:
    for host in list(_hosts):
        host._forked()  # noqa: SLF001 a hook of this module


os.register_at_fork(after_in_child=_after_fork)
