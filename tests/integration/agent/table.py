"""The table of failures: what a node may do to its process, and what has to come of it in each pool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from treadle.workflow.plan import Input, OnExhausted, Plan, Pool, Resources, RestartPolicy, RetryPolicy, Step

_FOLDER = Path(__file__).with_name("nodes")
NODES = tuple(str(_FOLDER / f"{name}.py") for name in ("misbehaving", "import_exits", "import_hangs"))
MESSAGES = 10
AT = 5  # the message at which it misbehaves
POOLS: tuple[Pool, ...] = ("thread", "process", "asyncio")
POLICIES: tuple[OnExhausted, ...] = ("dead-letter", "skip", "fail-loop", "restart-loop", "stop-workflow")
HOST_MEMORY = 400 << 20  # of each shared host of the agent under test


class Kind(Enum):
    """What has to come of it."""

    EXHAUSTS = "a failed execution: on_exhausted decides"
    POISON = "an unclean end: a dead letter after at most 1 + 3 deaths, whatever on_exhausted says"
    STALL = "the shared host is evacuated after 5 s, and the message gets through"
    PASSES = "the message gets through, and what was left behind is removed"
    IMPORT = "the node can't be had: its loop fails, and nothing is processed"


@dataclass(frozen=True)
class Row:
    """One failure. `error` is what the dead letter names; `shared` is what comes of it in a shared host, if else."""

    how: str
    kind: Kind
    error: str = ""
    shared: Kind | None = None
    asynchronous: bool = False
    loops: bool = True  # of event loops: whether it is the same in a loop of its own
    once: bool = False
    seconds: float = 0.0
    attempt_timeout_s: float | None = None
    memory: int | None = None  # of a loop process
    leaves: int = 0  # processes that stay as long as their shared host does, whose children they are

    @property
    def name(self) -> str:
        return f"{self.how}{' (async)' if self.asynchronous else ''}"

    def kind_in(self, pool: Pool) -> Kind:
        """Return what has to come of it in a pool."""
        if self.asynchronous and not self.loops and pool != "asyncio":
            return self.kind
        return self.kind if pool == "process" or self.shared is None else self.shared


HELD_S = 10.0  # longer than the 5 s after which a host is evacuated
ROWS = (
    Row("raises", Kind.EXHAUSTS, "ValueError"),
    Row("raises what can't be pickled", Kind.EXHAUSTS, "UnpicklableError"),
    Row("returns what can't be encoded", Kind.EXHAUSTS, "NotEncodable"),
    Row("recurses", Kind.EXHAUSTS, "RecursionError"),
    Row("sys.exit", Kind.EXHAUSTS, "SystemExit"),
    Row("hangs", Kind.EXHAUSTS, "AttemptTimeout", attempt_timeout_s=0.5, asynchronous=True),
    Row("hangs", Kind.POISON, "poison", attempt_timeout_s=0.5),
    Row("exits", Kind.POISON, "poison"),
    Row("segfaults", Kind.POISON, "poison"),
    Row("kills its process group", Kind.POISON, "poison"),
    Row("leaks", Kind.EXHAUSTS, "MemoryError", shared=Kind.PASSES, memory=150 << 20),
    Row("forks", Kind.PASSES, leaves=1),
    Row("forks twice", Kind.PASSES),
    Row("prints megabytes", Kind.PASSES),
    Row("holds the GIL", Kind.PASSES, shared=Kind.STALL, once=True, seconds=HELD_S),
    Row("computes with the GIL", Kind.PASSES, shared=Kind.STALL, once=True, seconds=HELD_S),
    Row("blocks", Kind.PASSES, shared=Kind.STALL, once=True, seconds=HELD_S, asynchronous=True, loops=False),
    Row("import exits", Kind.IMPORT, "import"),
    Row("import hangs", Kind.IMPORT, "import"),
)


def misbehaving(row: Row, pool: Pool, once: Path, *, name: str = "bad", policy: OnExhausted = "dead-letter") -> Plan:
    """Return the loop: from its queue `<name>-in`, through the node, to its queue `<name>-out`.

    It is given up at the second failure, so that a policy that fails the loop is at its end soon.
    """
    params = {"how": row.how, "at": AT, "seconds": row.seconds, "once": str(once) if row.once else ""}
    params["cured"] = str(once.with_name(f"{name}.cured"))
    uses = {"import exits": "test.exits", "import hangs": "test.hangs"}.get(row.how)
    uses = uses or ("test.misbehave-async" if row.asynchronous else "test.misbehave")
    retry = RetryPolicy(max_attempts=1, on_exhausted=policy)  # what can't be encoded fails where it is pushed
    steps = (
        Step("in", "queue-reader", queues=(f"{name}-in",)),
        Step(
            "node",
            "blocking",
            uses=uses,
            params=params if uses.startswith("test.misbehave") else {},
            inputs=(Input(0, None, "in"),),
            retry=retry,
            attempt_timeout_s=row.attempt_timeout_s,
        ),
        Step("out", "queue", queue=f"{name}-out", inputs=(Input(1, None, "node"),), retry=retry),
    )
    return Plan(
        "w",
        name,
        steps,
        digest=f"{name}-1",
        pool=pool,
        resources=Resources(memory=row.memory if pool == "process" else None),
        restart=RestartPolicy(initial_backoff_s=0.01, max_restarts=1),
    )
