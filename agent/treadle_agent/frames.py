"""What a supervisor and its children say to each other: length-prefixed MessagePack over a socketpair.

A frame is four bytes of length, big endian, then one tagged array. Whoever reads something else has a broken
peer: a supervisor kills such a child and replaces it, a child ends. Nobody resynchronises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from treadle.queues.tenure import LoopKey
from treadle.workflow.node_type import NodeType
from treadle_agent.errors import BrokenFrame

MAX_FRAME: Final = 64 * 1024 * 1024
_PREFIX: Final = 4


class Address(NamedTuple):
    """Names one replica of one loop."""

    namespace: str
    key: LoopKey

    def __str__(self) -> str:
        return f"{self.namespace}:{self.key}"


class Why(msgspec.Struct, frozen=True, array_like=True):
    """Why something failed or waits; `code` is stable, `message` one sentence, `type` an exception's class."""

    code: str
    message: str
    node: str = ""
    traceback: str = ""
    type: str = ""


class QueueUse(msgspec.Struct, frozen=True, array_like=True):
    """A queue as a loop uses it; None is unbounded."""

    name: str
    limit_messages: int | None = None
    limit_bytes: int | None = None
    drop_oldest: bool = False
    never_ends: bool = False


class Suspect(msgspec.Struct, frozen=True, array_like=True):
    """A message that a loop was on when its process ended."""

    queue: str
    number: int

    def __str__(self) -> str:
        return f"message {self.number} of {self.queue}"


# Supervisor -> child. `run` numbers one start of one loop; it is never used again.


class Attach(msgspec.Struct, frozen=True, array_like=True, tag="attach"):
    """Connect to the queues of a namespace before a loop needs them."""

    namespace: str
    redis_id: str = ""  # the namespace's id there; "" takes any


class Assign(msgspec.Struct, frozen=True, array_like=True, tag="assign"):
    """Incarnate a loop and run it."""

    run: int
    slot: int  # its place in the shared-memory page
    address: Address
    redis_id: str
    epoch: int
    revision: int
    plan: bytes  # JSON of treadle.workflow.plan.Plan
    queues: list[QueueUse]
    sources: dict[str, str]  # node type -> the module, as the catalog names it, that it comes from
    paused: bool = False
    alone: bool = False  # in a process of its own until the child says Cleared, whatever its pool
    suspect: Suspect | None = None  # what it was on when it ended uncleanly
    careful: bool = False  # nobody here knows how it ended


class Mute(msgspec.Struct, frozen=True, array_like=True, tag="mute"):
    """Record no traces, or again: the collector is away, or back."""

    on: bool


class Drain(msgspec.Struct, frozen=True, array_like=True, tag="drain"):
    """Stop at an iteration boundary, all committed."""

    run: int


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Stop now; what is not committed is forgotten."""

    run: int


class Pause(msgspec.Struct, frozen=True, array_like=True, tag="pause"):
    """Begin no further iteration."""

    run: int


class Resume(msgspec.Struct, frozen=True, array_like=True, tag="resume"):
    """Go on after a pause."""

    run: int


# Child -> supervisor.


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The child listens."""

    pid: int


class Began(msgspec.Struct, frozen=True, array_like=True, tag="began"):
    """A loop holds its tenure and its nodes are open: the first execution follows."""

    run: int
    incarnation: int
    time: float  # seconds since the epoch


class NodeFigures(msgspec.Struct, frozen=True, array_like=True):
    """Totals of one node since this incarnation began; `health` is idle, healthy or failing."""

    node: str
    uses: str
    health: str
    executions: int
    failures: int
    duration_log2_ns: list[int]
    last_error: Why | None


class Incident(msgspec.Struct, frozen=True, array_like=True):
    """One failure: an attempt of a node, or (`attempt` 0) the end of a process."""

    time: float  # seconds since the epoch
    why: Why
    attempt: int = 0
    input: str = ""  # what was being worked on, shortened


class Doing(msgspec.Struct, frozen=True, array_like=True):
    """What a loop is doing, as its host sees it; see `pools/doing.py` for the codes. Times: since the epoch."""

    code: str
    node: str = ""
    queue: str = ""
    since: float = 0.0
    attempt: int = 0
    again_at: float | None = None  # of the next attempt
    message: str = ""  # the error behind it


class Figures(msgspec.Struct, frozen=True, array_like=True, tag="figures"):
    """What a loop has done. `committed` counts since the loop's record began, the rest since this incarnation."""

    run: int
    paused: bool
    committed: int
    errors: int
    idle_ticks: int
    in_flight: int
    duration_log2_ns: list[int]
    nodes: list[NodeFigures]
    retries: int = 0
    dead_letters: int = 0  # messages
    incidents: list[Incident] = []  # the last ones, oldest first
    doing: Doing | None = None
    blocked: dict[str, float] = {}  # seconds waited for room, by full queue
    untouched: int = 0  # iterations that left nothing to commit; among those committed


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="ended"):
    """A loop is over: drained, stopped, completed, failed, lost, or unreachable (its Redis did not answer)."""

    run: int
    kind: str
    why: Why | None = None
    on_exhausted: str = ""  # what the node that failed wants done about its loop


class Cleared(msgspec.Struct, frozen=True, array_like=True, tag="cleared"):
    """A loop is past what was suspected; `dead` are the messages that became dead letters on the way."""

    run: int
    dead: list[Suspect] = []


class Trouble(msgspec.Struct, frozen=True, array_like=True, tag="trouble"):
    """What the host's watchdog sees of a loop (run 0: of the host); `why` None: that is over.

    Codes: attempt-timeout (a node that can't be cancelled is past its deadline), import-timeout, host-stalled (it
    holds the event loop), hanging (only to be told).
    """

    run: int
    why: Why | None = None


class Line(msgspec.Struct, frozen=True, array_like=True):
    """A line that a node logged or printed; `run` 0 is the host itself. The ids are hexadecimal, "" without a span."""

    run: int
    time: float
    level: str
    node: str
    message: str
    attempt: int = 0  # of the node; 0 when that is not known
    trace_id: str = ""
    span_id: str = ""
    logger: str = ""


class Lines(msgspec.Struct, frozen=True, array_like=True, tag="lines"):
    """Log lines, and how many were dropped before them."""

    lines: list[Line]
    dropped: int = 0


class Spans(msgspec.Struct, frozen=True, array_like=True, tag="spans"):
    """Spans that have ended, as an OTLP export request, and how many were dropped before them."""

    body: bytes
    count: int
    dropped: int = 0


class Found(msgspec.Struct, frozen=True, array_like=True, tag="found"):
    """What the catalog child found: node types, and modules that can't be offered."""

    types: list[NodeType]
    errors: list[Why]


ToChild = Attach | Assign | Mute | Drain | Stop | Pause | Resume
FromChild = Ready | Began | Figures | Ended | Cleared | Trouble | Lines | Spans | Found

T = TypeVar("T")

_ENCODER: Final = msgspec.msgpack.Encoder()
_TO_CHILD: Final[msgspec.msgpack.Decoder[ToChild]] = msgspec.msgpack.Decoder(ToChild)
_FROM_CHILD: Final[msgspec.msgpack.Decoder[FromChild]] = msgspec.msgpack.Decoder(FromChild)


def pack(frame: ToChild | FromChild) -> bytes:
    """Return a frame as it travels."""
    body = _ENCODER.encode(frame)
    return len(body).to_bytes(_PREFIX, "big") + body


def read_to_child(body: bytes) -> ToChild:
    """Return what a supervisor said. Raises BrokenFrame."""
    return _decode(_TO_CHILD, body)


def read_from_child(body: bytes) -> FromChild:
    """Return what a child said. Raises BrokenFrame."""
    return _decode(_FROM_CHILD, body)


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BrokenFrame(f"a frame of {len(body)} bytes is none of ours: {exc}") from exc


class Splitter:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each body that is complete now. Raises BrokenFrame for an impossible length."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _PREFIX:
            size = int.from_bytes(buffer[start : start + _PREFIX], "big")
            if size > MAX_FRAME:
                raise BrokenFrame(f"a frame of {size} bytes is too large")
            end = start + _PREFIX + size
            if len(buffer) < end:
                break
            yield bytes(buffer[start + _PREFIX : end])
            start = end
        del buffer[:start]
