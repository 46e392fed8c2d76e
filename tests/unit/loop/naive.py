"""An interpreter of plans, written for the eye and from semantics.md alone: the LoopManager is compared with it.

It shares no code with treadle.loop. Recursive, copies everything everywhere, knows nothing of speed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from treadle.workflow.plan import Plan

Payload = dict[str, Any]

# What a scripted node does: a payload, None, "end", ("route", handle, payload), or a list of these.
Behaviour = Callable[[str, Payload], Any]


class End(Exception):
    """EndIteration was returned."""


class Wrong(Exception):
    """A node's output can't go anywhere; the first argument is the node."""


@dataclass
class History:
    """What happened: executions in order, and messages by queue, of committed iterations."""

    executions: list[tuple[str, Payload]] = field(default_factory=list)
    queues: dict[str, list[tuple[Payload, dict[str, Any] | None]]] = field(default_factory=dict)
    failed_node: str | None = None


class Naive:
    """Interprets one plan."""

    def __init__(self, plan: Plan, behave: Behaviour) -> None:
        self.plan = plan
        self.behave = behave
        self.history = History()
        self.pushed: list[tuple[str, Payload, dict[str, Any] | None]] = []

    def run(self, produced: list[Any]) -> History:
        """Run an iteration for each thing that the producer returned."""
        for output in produced:
            self.pushed = []
            try:
                self.iteration(output)
            except End:
                pass
            except Wrong as wrong:
                self.history.failed_node = str(wrong.args[0])
                return self.history
            for queue, payload, headers in self.pushed:
                self.history.queues.setdefault(queue, []).append((payload, headers))
        return self.history

    def iteration(self, output: Any) -> None:
        rest = list(range(1, len(self.plan.steps)))
        outputs: dict[int, Any] = {}
        self.spread(0, output, outputs)
        self.visit(rest, outputs)

    def visit(self, steps: list[int], outputs: dict[int, Any]) -> None:
        for at in steps:
            arrivals = self.arrivals(at, outputs)
            if len(arrivals) > 1:
                self.refuse_split(at)
                for arrival in arrivals:
                    inner: dict[int, Any] = {}
                    self.execute(at, arrival, inner)
                    self.visit(self.below(at), inner)
            elif arrivals:
                self.execute(at, arrivals[0], outputs)

    def arrivals(self, at: int, outputs: dict[int, Any]) -> list[Payload]:
        """Return the inputs that a step is executed with: none, one, or several for a join `each`."""
        step = self.plan.steps[at]
        live = []
        for edge in step.inputs:
            if edge.source in outputs:
                handle, payload = outputs[edge.source]
                matches = edge.handle != "error" if handle is None else edge.handle == handle
                if matches:
                    live.append((edge.source, edge.key, copy.deepcopy(payload)))
        if not live:
            return []
        if step.join == "all":
            return [live[0][2]] if len(live) == 1 else [{key: payload for _, key, payload in live}]
        live.sort(key=lambda each: each[0])
        payloads = [payload for _, _, payload in live]
        return payloads[:1] if step.join == "any" else payloads

    def execute(self, at: int, payload: Payload, outputs: dict[int, Any]) -> None:
        step = self.plan.steps[at]
        if step.kind == "queue":
            self.pushed.append((step.queue or "", copy.deepcopy(payload), None))
            outputs[at] = (None, payload)
            return
        self.history.executions.append((step.node, copy.deepcopy(payload)))
        output = self.behave(step.node, payload)
        if step.tail_queue is not None:
            for item in output if isinstance(output, list) else [output]:
                if item == "end":
                    raise End
                if item is not None:
                    handle, sent = self.sent(item)
                    headers = None if handle is None else {"handle": handle}
                    self.pushed.append((step.tail_queue, copy.deepcopy(sent), headers))
            return
        self.spread(at, output, outputs)

    def spread(self, at: int, output: Any, outputs: dict[int, Any]) -> None:
        """Make an output visible to what is below; a list runs it once per item, at once."""
        items = [item for item in (output if isinstance(output, list) else [output]) if item is not None]
        handles = {edge.handle for step in self.plan.steps for edge in step.inputs if edge.source == at}
        for item in items:
            if item != "end" and self.sent(item)[0] not in {None, *handles}:
                raise Wrong(self.plan.steps[at].node)
        if len(items) > 1:
            self.refuse_split(at)
            for item in items:
                if item == "end":
                    raise End
                self.visit(self.below(at), {at: self.sent(item)})
        elif items:
            if items[0] == "end":
                raise End
            outputs[at] = self.sent(items[0])

    def refuse_split(self, at: int) -> None:
        inside = {at, *self.below(at)}
        for step in self.below(at):
            inputs = self.plan.steps[step].inputs
            if self.plan.steps[step].join != "each" and {edge.source for edge in inputs} - inside:
                raise Wrong(self.plan.steps[at].node)

    def below(self, at: int) -> list[int]:
        reached = {at}
        for step in range(at + 1, len(self.plan.steps)):
            if any(edge.source in reached for edge in self.plan.steps[step].inputs):
                reached.add(step)
        return sorted(reached - {at})

    @staticmethod
    def sent(item: Any) -> tuple[str | None, Payload]:
        return (item[1], item[2]) if isinstance(item, tuple) else (None, item)
