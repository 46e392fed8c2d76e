"""The commit pipeline against a model of the server, with answers lost, copies late, rooms full and memory gone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.queues.group import Iteration, Writer
from treadle.queues.pipeline import MAX_BYTES, MAX_ITERATIONS, Commit, Pipeline
from treadle.queues.plain import Plain

WRITER = Writer("{n}:", "flow/a/0", "host", ("q",))
OOM = hiredis.ReplyError("OOM command not allowed when used memory > 'maxmemory'.")


def iteration(*items: bytes, reads: tuple[tuple[str, int, int], ...] = (), completes: bool = False) -> Iteration:
    """Return one iteration that pushes to q."""
    return reads, tuple(("q", i) for i in items), None, (), completes, sum(map(len, items))


def pipeline(seq: int = 0) -> Pipeline:
    """Return a pipeline of epoch 3, inc 1."""
    return Pipeline(WRITER, (3, 1, seq), "r", lambda queue, first, last: last - first + 1)


def parse(payload: bytes) -> list[bytes]:
    """Return the arguments of a packed command."""
    reader = hiredis.Reader()
    reader.feed(payload)
    args: list[bytes] = reader.gets()
    return args


class ModelServer:
    """What the commit function does to one bounded queue, in a few lines."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: list[bytes] = []
        self.taken = 0
        self.inc, self.seq, self.nonce = 1, 0, b""
        self.overshot = 0

    def commit(self, payload: bytes) -> list[Any]:
        """Do what a copy of a commit asks for, whenever it arrives."""
        args = parse(payload)
        inc, seq, nonce = int(args[7]), int(args[8]), args[9]
        if inc != self.inc:
            return [b"FENCED", 3, self.inc]
        if seq == self.seq:
            return [b"DUPLICATE", seq] if nonce == self.nonce else [b"CONFLICT", seq]
        if seq != self.seq + 1:
            return [b"GAP", self.seq]
        pushed, last = self._pushed(args)
        room = max(0, self.limit - (len(self.items) - self.taken))
        if pushed and len(pushed) - last >= room:
            return [b"FULL", b"q", room, -1]
        self.seq, self.nonce = seq, nonce
        self.items += pushed
        left = self.limit - (len(self.items) - self.taken)
        self.overshot = max(self.overshot, -left)
        return [b"OK", seq, [b"q", max(0, left), -1]]

    def incarnate(self) -> tuple[int, int, bytes]:
        """Fence every copy under way."""
        self.inc += 1
        return self.inc, self.seq, self.nonce

    @staticmethod
    def _pushed(args: list[bytes]) -> tuple[list[bytes], int]:
        assert args[13:15] == [b"0", b"0"], "these iterations read nothing and keep no state"
        if args[15] == b"0":
            return [], 0
        last, entries = int(args[19]), int(args[21])
        import msgspec

        pushed: list[bytes] = []
        for e in range(entries):
            array = msgspec.msgpack.decode(args[23 + 2 * e])
            assert len(array) == int(args[22 + 2 * e])
            pushed += [msgspec.msgpack.encode(one) for one in array]
        return pushed, last


class Play:
    """A pipeline, a server, and an unkind network between them."""

    def __init__(self, seed: int, sizes: list[int], limit: int) -> None:
        self.random = random.Random(seed)
        self.pipe = pipeline()
        self.server = ModelServer(limit)
        self.now = 0.0
        self.under_way: list[bytes] = []  # copies that may still arrive
        self.flying: Commit | None = None
        import msgspec

        numbers = iter(range(10_000))
        self.sent = [[msgspec.msgpack.encode(next(numbers)) for _ in range(size)] for size in sizes]
        self.pipe.plain = Plain(pushes="q")
        for items in self.sent:
            self.pipe.waiting.append(items[0] if len(items) == 1 else iteration(*items))

    def step(self) -> None:
        """Let one thing happen."""
        self.now += 0.05
        commit = self.pipe.due(self.now)
        if commit is not None:
            self.flying = commit
            self.under_way.append(commit.payload)
        events: list[Callable[[], None]] = [self._drain, self._late_copy, self._answer, self._answer, self._lose]
        self.random.choice(events)()
        if self.pipe.want_inc:
            self.pipe.refenced(*self.server.incarnate(), self.now)

    def finish(self) -> None:
        """Let all go well from now on."""
        for _ in range(2000):
            if self.pipe.idle and not self.pipe.want_inc:
                return
            self.now += 1.0
            commit = self.pipe.due(self.now)
            self.flying = commit or self.flying
            self._drain()
            if self.flying is not None and self.flying.on_wire:
                self.pipe.answered(self.server.commit(self.flying.payload), self.now)
            if self.pipe.want_inc:
                self.pipe.refenced(*self.server.incarnate(), self.now)
        pytest.fail("the pipeline never came to rest")

    def _drain(self) -> None:
        self.server.taken = len(self.server.items)
        self.pipe.room("q")

    def _late_copy(self) -> None:
        late = [p for p in self.under_way if self.flying is None or p is not self.flying.payload]
        if self.flying is not None and not self.flying.on_wire:
            late = self.under_way
        if late:
            self._arrive(self.random.choice(late))

    def _arrive(self, payload: bytes) -> list[Any]:
        # A connection delivers each copy once.
        self.under_way.remove(payload)
        return self.server.commit(payload)

    def _answer(self) -> None:
        if self.flying is not None and self.flying.on_wire:
            if self.random.random() < 0.2:
                self.under_way.remove(self.flying.payload)
                self.pipe.answered(OOM, self.now)
            else:
                self.pipe.answered(self._arrive(self.flying.payload), self.now)

    def _lose(self) -> None:
        if self.flying is not None and self.flying.on_wire and self.random.random() < 0.5:
            self._arrive(self.flying.payload)
        self.pipe.disconnected()


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=30) | st.lists(st.just(1), min_size=1, max_size=60),
    limit=st.integers(1, 12),
    steps=st.integers(0, 120),
)
def test_every_message_is_committed_once_and_in_order(seed: int, sizes: list[int], limit: int, steps: int) -> None:
    play = Play(seed, sizes, limit)
    for _ in range(steps):
        play.step()
        assert play.pipe.lost is None
    play.finish()

    assert play.pipe.lost is None
    assert play.server.items == [i for items in play.sent for i in items]
    assert play.server.overshot < max(sizes)


def test_with_nothing_in_flight_a_commit_goes_at_once_and_what_comes_meanwhile_is_gathered() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"\x01"))
    first = pipe.due(0.0)
    assert first is not None
    assert len(first.iterations) == 1
    for _ in range(5):
        pipe.waiting.append(iteration(b"\x01"))
    assert pipe.due(0.0) is None

    assert pipe.answered([b"OK", 1], 0.0) is first

    second = pipe.due(0.0)
    assert second is not None
    assert len(second.iterations) == 5


def test_a_group_is_limited_in_iterations_and_bytes_but_one_iteration_always_goes() -> None:
    pipe = pipeline()
    for _ in range(MAX_ITERATIONS + 1):
        pipe.waiting.append(iteration(b"\x01"))
    commit = pipe.due(0.0)
    assert commit is not None
    assert len(commit.iterations) == MAX_ITERATIONS

    big = pipeline()
    for _ in range(2):
        big.waiting.append(iteration(b"x" * (MAX_BYTES + 1)))
    commit = big.due(0.0)
    assert commit is not None
    assert len(commit.iterations) == 1


def test_after_an_unknown_outcome_the_identical_bytes_are_sent_again() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"\x01"))
    first = pipe.due(0.0)
    assert first is not None
    before = first.payload
    pipe.waiting.append(iteration(b"\x02"))

    pipe.disconnected()

    again = pipe.due(0.0)
    assert again is first
    assert first.payload == before
    assert pipe.answered([b"DUPLICATE", 1], 0.0) is first


def test_a_refusal_of_bytes_sent_twice_needs_a_new_incarnation_first() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"\x01"))
    pipe.due(0.0)
    pipe.disconnected()
    pipe.due(0.0)

    pipe.answered([b"FULL", b"q", 0, -1], 0.0)
    assert pipe.want_inc
    assert pipe.due(9.0) is None

    pipe.refenced(2, 0, b"", 9.0)
    commit = pipe.due(9.0)
    assert commit is not None
    assert parse(commit.payload)[7:9] == [b"2", b"1"]


def test_out_of_memory_backs_off_from_100_ms_to_a_second_and_keeps_the_bytes() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"\x01"))
    now, pauses = 0.0, list[float]()
    commit = pipe.due(now)
    assert commit is not None
    for _ in range(6):
        pipe.answered(OOM, now)
        pauses.append(round(pipe.not_before - now, 3))
        now = pipe.not_before
        assert pipe.due(now) is commit
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"FENCED", "fenced"),
        (b"CONFLICT", "conflict"),
        (b"GAP", "gap"),
        (b"SHIFTED", "shifted"),
        (b"BAD_TYPE", "bad-type"),
        (b"DLQ_FULL", "dlq-full"),
        (b"WHAT", "conflict"),
    ],
)
def test_an_answer_that_ends_the_tenure_says_why(code: bytes, reason: str) -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"\x01"))
    pipe.due(0.0)
    pipe.answered([code, b"x", 1], 0.0)
    assert pipe.lost is not None
    assert pipe.lost.reason == reason
    assert pipe.due(1.0) is None


def test_an_epoch_or_incarnation_that_the_server_has_forgotten_means_lost_writes() -> None:
    reasons = []
    for stored in ((2, 9), (3, 0), (3, 2), (4, 0), (0, 0)):
        pipe = pipeline()
        pipe.waiting.append(iteration(b"\x01"))
        pipe.due(0.0)
        pipe.answered([b"FENCED", *stored], 0.0)
        assert pipe.lost is not None
        reasons.append(pipe.lost.reason)
    assert reasons == ["gap", "gap", "fenced", "fenced", "fenced"]  # the pipeline's own are 3 and 1


def test_an_error_that_waiting_cannot_cure_ends_the_tenure() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"\x01"))
    pipe.due(0.0)
    pipe.answered(hiredis.ReplyError("NOPERM no permission"), 0.0)
    assert pipe.lost is not None
    assert pipe.lost.reason == "refused"


def test_the_commit_that_completes_a_loop_is_no_iteration_and_names_the_queues_it_closes() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"\x01"))
    pipe.waiting.append(iteration(completes=True))
    commit = pipe.due(0.0)
    assert commit is not None
    args = parse(commit.payload)
    assert (commit.counted, args[10], args[11]) == (1, b"1", b"1")
    assert args[-2:] == [b"1", b"q"]


def test_reads_that_follow_one_another_are_one_range_and_pushing_nothing_may_exceed_memory() -> None:
    pipe = pipeline()
    for n in (5, 6, 7):
        pipe.waiting.append(iteration(reads=(("in", n, n),)))
    commit = pipe.due(0.0)
    assert commit is not None
    assert commit.ranges == {"in": [5, 7]}
    assert parse(commit.payload)[1] == b"treadle_acknowledge"


def test_one_plain_iteration_is_the_commit_of_the_same_written_out() -> None:
    for short in (7, (7, b"x"), (7, None)):
        plain, written_out = pipeline(), pipeline()
        plain.plain = Plain("in", "q")
        plain.waiting.append(short)
        written_out.waiting += Plain("in", "q").whole([short])
        one, other = plain.due(0.0), written_out.due(0.0)
        assert one is not None
        assert other is not None
        assert one.payload == other.payload
        assert (one.ranges, one.size, one.counted) == (other.ranges, other.size, other.counted) != ({}, 0, 0)
        assert plain.waiting == []


def test_a_ring_for_room_that_overtakes_the_refusal_is_not_lost() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"a"))
    assert pipe.due(0.0) is not None

    assert not pipe.room("q")
    pipe.answered([b"FULL", b"q", 0, -1], 0.0)

    assert pipe.full_on is None
    assert pipe.due(0.0) is not None


def test_time_without_room_is_counted_for_the_queue_that_had_none() -> None:
    pipe = pipeline()
    pipe.waiting.append(iteration(b"a"))
    for moment, answer in (
        (10.0, [b"FULL", b"q", 0, -1]),
        (13.0, [b"FULL", b"q", 0, -1]),
        (14.0, [b"FULL", b"r", 0, -1]),
        (16.5, [b"OK", 1]),
    ):
        if pipe.full_on is not None:
            pipe.room(pipe.full_on)
        assert pipe.due(moment) is not None
        pipe.answered(answer, moment)

    assert pipe.blocked == {"q": 4.0, "r": 2.5}
    assert (pipe.blocked_s, pipe.blocked_from) == (6.5, None)
