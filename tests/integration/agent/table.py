"""A row of the table of failures: an agent, a loop that misbehaves, an innocent one beside it, and what is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.integration.agent.plans import counting
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from treadle.queues.codec import encode_item
from treadle.queues.stats import DeadLetterEntry
from treadle.workflow.plan import Input, Plan, Pool, Resources, RetryPolicy, Step

NODES = str(Path(__file__).with_name("nodes") / "misbehaving.py")
MESSAGES = 10
SLOW_S = 1.0  # that a busy machine may add
NO_RETRY = RetryPolicy(max_attempts=1)


@dataclass(frozen=True)
class Row:
    """What a node does and what has to come of it. `lost` is the message that must become a dead letter."""

    how: str
    lost: bool = False
    error: str = ""  # of the dead letter
    most_restarts: int = 0
    asynchronous: bool = False
    once: bool = False
    seconds: float = 0.0
    attempt_timeout_s: float | None = None
    memory: int | None = None
    recovery_s: float = 0.5  # of the innocent loop, without a commit


def misbehaving(row: Row, pool: Pool, once: Path) -> Plan:
    """Return the loop: from the queue `in`, through the node, to the queue `out`."""
    params = {"how": row.how, "at": 5, "seconds": row.seconds, "once": str(once) if row.once else ""}
    uses = "test.misbehave-async" if row.asynchronous else "test.misbehave"
    steps = (
        Step("in", "queue-reader", queues=("in",)),
        Step(
            "node",
            "blocking",
            uses=uses,
            params=params,
            inputs=(Input(0, None, "in"),),
            retry=NO_RETRY,
            attempt_timeout_s=row.attempt_timeout_s,
        ),
        Step("out", "queue", queue="out", inputs=(Input(1, None, "node"),)),
    )
    resources = Resources(memory=row.memory)
    return Plan("w", "bad", steps, digest="bad-1", pool=pool, resources=resources)


class Stand:
    """An agent with both loops running."""

    def __init__(self, controller: ScriptedController, agent: AgentProcess, plan: Plan) -> None:
        self.controller = controller
        self.agent = agent
        controller.assign(plan, replace(counting("good", plan.pool, "good"), interval_s=0.01))
        controller.wait_state("bad", "RUNNING")
        controller.wait_state("good", "RUNNING")

    def feed(self, numbers: Sequence[int] = range(MESSAGES)) -> None:
        """Give the misbehaving loop its messages."""
        items = [encode_item({"n": n}) for n in numbers]
        self.controller.do(lambda admin: admin.push("in", items))

    def watch(self, done: Callable[[], bool], limit_s: float) -> float:
        """Wait until all is done; returns the longest time that the innocent loop committed nothing."""
        deadline = time.monotonic() + limit_s
        longest, pushed, since = 0.0, -1, time.monotonic()
        while True:
            now = time.monotonic()
            figures = self.controller.queue("good").pushed
            longest = max(longest, now - since)
            if figures != pushed:
                pushed, since = figures, now
            if done():
                return longest
            assert now < deadline, f"{self.out()} and {len(self.dead())} dead of {MESSAGES}; {self.controller.history}"

    def settled(self) -> bool:
        """Whether every message is in the sink or among the dead letters."""
        depths = self.controller.do(lambda admin: admin.depths(["in", "out"]))
        return bool(depths["out"].depth + depths["in"].dead >= MESSAGES and depths["in"].depth == 0)

    def out(self) -> list[int]:
        """Return what came through, in order."""
        return [item[0]["n"] for item in self.controller.peek("out", 1000)]

    def dead(self) -> list[DeadLetterEntry]:
        """Return what did not."""
        found: list[DeadLetterEntry] = self.controller.do(lambda admin: admin.dead_letters("in"))
        return found

    def good(self) -> list[int]:
        """Return what the innocent loop pushed."""
        return [item[0]["n"] for item in self.controller.peek("good", 100_000)]


SHORT = (
    Row("raises", lost=True, error="ValueError"),
    Row("hangs", lost=True, error="poison", attempt_timeout_s=0.5, most_restarts=4, recovery_s=2.0),
    Row("holds the GIL", once=True, seconds=7.0, most_restarts=1, recovery_s=6.0),
    Row("exits", lost=True, error="poison", most_restarts=4),
    Row("segfaults", lost=True, error="poison", most_restarts=4),
    Row("forks twice"),
    Row("raises what can't be pickled", lost=True, error="UnpicklableError"),
    Row("prints megabytes"),
)
LONG = (
    *SHORT,
    Row("blocks", once=True, seconds=7.0, most_restarts=1, recovery_s=6.0, asynchronous=True),
    Row("hangs", lost=True, error="AttemptTimeout", attempt_timeout_s=0.5, asynchronous=True),
    Row("computes with the GIL", once=True, seconds=7.0, most_restarts=1, recovery_s=6.5),
    Row("forks"),
    Row("sys.exit", lost=True, error="SystemExit"),
    Row("kills its process group", lost=True, error="poison", most_restarts=4),
    Row("returns what can't be encoded", lost=True, error="NotEncodable"),
    Row("recurses", lost=True, error="RecursionError"),
)
POOLS: tuple[Pool, ...] = ("thread", "process", "asyncio")
LEAK = Row("leaks", lost=True, error="", memory=150 << 20, most_restarts=4)


def same_process(controller: ScriptedController) -> bool:
    """Whether both loops run in one process, and run."""
    bad, good = controller.statuses["bad"], controller.statuses["good"]
    return controller.state("bad") == "RUNNING" and bad.process_id == good.process_id


def play(row: Row, pool: Pool, controller: ScriptedController, agent: AgentProcess, folder: Path) -> Stand:
    """Play a row and check everything that is specified of it."""
    stand = Stand(controller, agent, misbehaving(row, pool, folder / "once"))
    stand.feed()
    longest = stand.watch(stand.settled, 45.0)

    wanted = [n for n in range(MESSAGES) if not (row.lost and n == 5)]
    assert stand.out() == wanted
    dead = stand.dead()
    assert [letter.number for letter in dead] == ([6] if row.lost else [])
    if row.lost and row.error:
        assert row.error in str(dead[0].reason)
    # It goes back to where it belongs, and stays.
    controller.wait(lambda: controller.state("bad") == "RUNNING", "the loop runs")
    status = controller.statuses["bad"]
    assert status.restarts <= row.most_restarts
    assert "ERROR" not in {state for _, state in controller.history}
    if row.error == "poison" and row.attempt_timeout_s is None and pool != "process":
        controller.wait(lambda: same_process(controller), "the loop is back in its pool")
    # The neighbour lost nothing, did nothing twice, and was not kept waiting.
    numbers = stand.good()
    assert numbers == list(range(len(numbers)))
    assert longest <= row.recovery_s + SLOW_S
    assert controller.longest_silence_s <= 1.0 + SLOW_S
    return stand
