from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.queues.tenure import LoopKey
from treadle.workflow.node_type import NodeType
from treadle_agent.errors import BrokenFrame
from treadle_agent.frames import (
    MAX_FRAME,
    Address,
    Assign,
    Attach,
    Began,
    Drain,
    Ended,
    Figures,
    Found,
    FromChild,
    Line,
    Lines,
    NodeFigures,
    Pause,
    QueueUse,
    Ready,
    Resume,
    Splitter,
    Stop,
    ToChild,
    Why,
    pack,
    read_from_child,
    read_to_child,
)

ADDRESS = Address("ns", LoopKey("w", "l", 3))
WHY = Why("exception", "no", "n", "traceback")
TO_CHILD: list[ToChild] = [
    Attach("ns", "id"),
    Assign(1, 2, ADDRESS, "id", 4, 5, b"{}", [QueueUse("q", None, 7)], {"a.b": "mod"}, paused=True),
    Drain(1),
    Stop(2),
    Pause(3),
    Resume(4),
]
FROM_CHILD: list[FromChild] = [
    Ready(1),
    Began(1, 2, 3.5),
    Figures(1, False, 2, 3, 4, 5, [1, 2], [NodeFigures("n", "u", "idle", 1, 2, [3], WHY)]),
    Ended(1, "failed", WHY),
    Lines([Line(1, 2.0, "INFO", "n", "text")], 3),
    Found([NodeType("a.b", "node", {"type": "object"})], [WHY]),
]


@pytest.mark.parametrize("frame", TO_CHILD, ids=lambda frame: type(frame).__name__)
def test_what_a_supervisor_says_arrives_as_it_was(frame: ToChild) -> None:
    (body,) = Splitter().feed(pack(frame))

    assert read_to_child(body) == frame


@pytest.mark.parametrize("frame", FROM_CHILD, ids=lambda frame: type(frame).__name__)
def test_what_a_child_says_arrives_as_it_was(frame: FromChild) -> None:
    (body,) = Splitter().feed(pack(frame))

    assert read_from_child(body) == frame


@given(st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_found_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(pack(frame) for frame in FROM_CHILD)
    splitter = Splitter()
    found = []
    for turn in range(len(stream)):
        size = cuts[turn % len(cuts)]
        found += [read_from_child(body) for body in splitter.feed(stream[:size])]
        stream = stream[size:]

    assert found == FROM_CHILD


@given(st.binary(max_size=200))
def test_anything_else_is_a_broken_frame_and_nothing_worse(body: bytes) -> None:
    for read in (read_from_child, read_to_child):
        try:
            read(body)
        except BrokenFrame:
            continue


def test_a_frame_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(BrokenFrame):
        list(Splitter().feed((MAX_FRAME + 1).to_bytes(4, "big")))


def test_a_child_cannot_say_what_only_a_supervisor_says() -> None:
    with pytest.raises(BrokenFrame):
        read_from_child(pack(Drain(1))[4:])
