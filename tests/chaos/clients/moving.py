"""A program in JavaScript that moves messages, and everything that can happen to it meanwhile."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis

from tests.acceptance.clients.npm import NODE, environment
from tests.acceptance.clients.secured_cluster import SecuredCluster
from tests.acceptance.running import wait_until
from tests.cutting_proxy import CuttingProxy

FAULTS = ("kill mover", "kill feeder", "kill both", "two movers", "cut connections", "kill controller", "kill queues")
STEP = 120
PATIENCE_S = 90.0


@dataclass
class Program:
    """One of the programs, in one life after the other."""

    script: str
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    lives: int = 0
    retired: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = ["node", self.script]
            self.process = subprocess.Popen(command, cwd=NODE, env=environment(self.env), stdout=log, stderr=log)
        self.lives += 1

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def replace(self) -> None:
        """Start a second one while the first lives: the first is told to go, and ends with an error of its own."""
        if self.process is not None:
            self.retired.append(self.process)
        self.start()

    def outcome(self) -> str:
        """Return "done" once one of those that live is, "dead" when nobody lives, "" as long as it goes on."""
        codes = [process.poll() for process in (*self.retired, self.process) if process is not None]
        return "done" if 0 in codes else "" if None in codes else "dead"

    def clean_up(self) -> None:
        for process in (*self.retired, self.process):
            if process is not None:
                process.kill()
                process.wait()


class Moving:
    """Plays one seed: `count` messages from `in` to `out`, with a fault each time that some more have arrived."""

    def __init__(
        self,
        cluster: SecuredCluster,
        proxy: CuttingProxy,
        seed: int,
        count: int,
        faults: Sequence[str],
        *,
        plain: bool = False,
    ) -> None:
        self.chance = random.Random(seed)
        self.cluster = cluster
        self.proxy = proxy
        self.seed = seed
        self.count = count
        self.faults = faults
        self.queues = redis.Redis.from_url(cluster.controller.redis_url, decode_responses=True)
        self.done: Counter[str] = Counter()
        self.names = (f"in-{seed}", f"out-{seed}")
        known = {**cluster.environment(), "WF_ADDRESS": f"127.0.0.1:{proxy.port}", "COUNT": str(count)}
        source, target = self.names
        log = cluster.folder / f"programs-{seed}.log"
        self.feeder = Program("feed.js", {**known, "QUEUE": source, "SIZE": "20"}, log)
        self.mover = Program("move.js", {**known, "FROM": source, "TO": target, "PLAIN": "yes" if plain else ""}, log)

    def play(self) -> None:
        """Run to the end. Raises AssertionError when something is stuck."""
        self.cluster.apply_queues(f"moving-{self.seed}", self.names)
        self.feeder.start()
        self.mover.start()
        try:
            for fault in self.faults:
                self._wait_for_more()  # whoever lives since the last fault has to have moved some
                self._hurt(fault)
            for program in (self.feeder, self.mover):
                assert wait_until(program.outcome, f"{program.script} is done", PATIENCE_S) == "done", self._log
        finally:
            self.feeder.clean_up()
            self.mover.clean_up()
            self.queues.close()

    def _hurt(self, fault: str) -> None:
        self.done[fault] += 1
        match fault:
            case "kill mover":
                self._again(self.mover)
            case "kill feeder":
                self._again(self.feeder)
            case "kill both":
                self._again(self.mover)
                self._again(self.feeder)
            case "two movers":
                self.mover.replace()
            case "cut connections":
                self.proxy.cut(b"", times=self.chance.randint(1, 3), every=self.chance.randint(1, 6))
            case "kill queues":
                wait_until(self._has_queues, "the controller has the queues again, after the last time")
                self.cluster.queues.kill()
                wait_until(lambda: not self._has_queues(), "the controller misses the queues")
                self.cluster.queues.start()
            case _:
                self.cluster.controller.kill()
                self.cluster.controller.start()

    def _has_queues(self) -> bool:
        log = self.cluster.controller.log()
        return log.rfind("redis-connected") > log.rfind("redis-unreachable")

    def _again(self, program: Program) -> None:
        program.kill()
        program.start()

    def _wait_for_more(self) -> None:
        try:
            wait_until(partial(self._has_moved, self._moved() + STEP), f"{STEP} more messages", PATIENCE_S)
        except AssertionError as exc:
            exc.add_note(self._log)
            raise

    def _has_moved(self, due: int) -> bool:
        return self._moved() >= due

    def _moved(self) -> int:
        """Return how many messages of the source are done, whoever is alive."""
        return int(self.queues.hget(f"{{default}}:q:{self.names[0]}:m", "done") or 0)

    @property
    def _log(self) -> str:
        return self.mover.log.read_text()[-2000:]

    def openings(self) -> list[dict[str, int]]:
        """Return what the movers were told when they opened their streams."""
        lines = (line for line in self.mover.log.read_text().splitlines() if line.startswith('{"committed"'))
        return [json.loads(line) for line in lines]
