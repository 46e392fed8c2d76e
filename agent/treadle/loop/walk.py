"""Carries an output through everything below its step: any plan, lists, joins and routes included.

No recursion over the graph: a list, or a join `each` with several arrivals, opens a branch per item on a stack,
and each branch is walked to its end before the next begins (depth first). In a branch only the item is there,
every other output counts as skipped; after the branches the plan goes on where it was.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

from treadle.data import Idle, LoopComplete, NodeData
from treadle.errors import BadOutput
from treadle.loop.inflow import gatherer
from treadle.loop.output import END, Sent, is_signal, read_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from treadle.loop.inflow import Environment, Gather
    from treadle.loop.iteration import Iteration
    from treadle.loop.recovery import Recovery
    from treadle.loop.state import NodeState
    from treadle.loop.step import Step
    from treadle.loop.table import Table


class _Branch:
    """Steps still to be executed, what their predecessors returned, and the first one's input if it is given."""

    __slots__ = ("given", "outputs", "rest")

    def __init__(self, steps: Iterable[int], outputs: Environment, given: NodeData | None = None) -> None:
        self.rest = iter(steps)
        self.outputs = outputs
        self.given = given


_Stack = list["_Branch | Iterator[_Branch | None]"]


class Walk:
    """Walks the branches of one iteration after the other."""

    __slots__ = ("_gathers", "_iteration", "_recovery", "_steps", "_table")

    def __init__(self, steps: list[Step], table: Table, iteration: Iteration, recovery: Recovery) -> None:
        self._steps = steps
        self._table = table
        self._iteration = iteration
        self._recovery = recovery
        self._gathers: Sequence[Gather] = ()  # made when first needed: a loop may run on its chain for ever

    async def carry(self, at: int, output: Any, headers: Mapping[str, Any] | None, then: int) -> int:
        """Execute what is below a step, after it returned an output. Returns the time of the last execution's end.

        `then` is the time now; both in nanoseconds. Ends early at EndIteration. Raises Abandoned, and
        BadOutput for the given output.
        """
        iteration = self._iteration
        iteration.at, iteration.began = at, then
        if not self._gathers:
            self._gathers = [gatherer(inflow, iteration) for inflow in self._table.inflows]
        outputs: Environment = {}
        stack: _Stack = [_Branch(self._table.below(at), outputs)]
        try:
            if not self._settle(at, output, headers, outputs, stack):
                return then
            while stack:
                top = stack[-1]
                if type(top) is _Branch:
                    then, ended = await self._advance(top, stack, then)
                else:
                    ended = _open_next(cast("Iterator[_Branch | None]", top), stack)
                if ended:
                    return then
            return then
        finally:
            iteration.executed = None

    async def _advance(  # noqa: C901, PLR0912 - a call per part would cost every node
        self, branch: _Branch, stack: _Stack, then: int
    ) -> tuple[int, bool]:
        """Execute a branch until it is done or opens others on the stack. Says whether EndIteration was returned."""
        steps, gathers, iteration, outputs = self._steps, self._gathers, self._iteration, branch.outputs
        for at in branch.rest:
            step = steps[at]
            given = branch.given
            if given is None:
                try:
                    taken = gathers[at](outputs)
                    if type(taken) is list:
                        self._split(at)
                except BaseException as exc:  # noqa: BLE001 - what a node returned can't be copied, or not be joined
                    self._recovery.final(steps[iteration.at], exc)
                    continue
                if taken is None:
                    continue
                if type(taken) is list:
                    stack.append(_Branch((at, *self._table.below(at)), {}, each) for each in taken)
                    return then, False
                data = cast("NodeData", taken)
            else:
                data, branch.given = given, None
            iteration.at = at
            if iteration.executed is not None:
                self._mark(step, iteration.executed)
            try:
                output = step.call(data)
                if step.awaits:
                    output = await output
                now = perf_counter_ns()
                step.durations[(now - then).bit_length()] += 1
                then = now
            except BaseException as exc:  # noqa: BLE001 - a node's; what isn't is raised again
                iteration.since = then
                output = await self._recovery.output(step, data, exc)
                then = perf_counter_ns()
            kind = type(output)
            if kind is NodeData:
                outputs[at] = None, output
            elif kind is dict:
                outputs[at] = None, NodeData(output, data.headers)
            elif output is not None:
                depth = len(stack)
                try:
                    goes_on = self._settle(at, output, data.headers, outputs, stack)
                except BadOutput as exc:
                    output = await self._recovery.output(step, data, exc)
                    goes_on = self._settle(at, output, data.headers, outputs, stack)
                if not goes_on:
                    return then, True
                if len(stack) > depth:
                    return then, False
        stack.pop()
        return then, False

    def _settle(
        self, at: int, output: Any, headers: Mapping[str, Any] | None, outputs: Environment, stack: _Stack
    ) -> bool:
        """Put an output where the steps below find it, or open a branch per item. False: EndIteration."""
        items = read_output(output, headers)
        for item in items:
            if item is not END:
                self._check_handle(at, cast("Sent", item))
        if not items:
            return True
        if len(items) == 1:
            if items[0] is END:
                return False
            outputs[at] = cast("Sent", items[0])
            return True
        self._split(at)
        below = self._table.below(at)
        stack.append(None if item is END else _Branch(below, {at: cast("Sent", item)}) for item in items)
        return True

    def check(self, at: int, output: Any) -> None:
        """See whether an output can be sent on. Raises BadOutput."""
        if at == 0 and (is_signal(output, LoopComplete) or isinstance(output, Idle)):
            return
        items = read_output(output, None)
        for item in items:
            if item is not END:
                self._check_handle(at, cast("Sent", item))
        if len(items) > 1:
            self._check_join(at)

    def _mark(self, step: Step, executed: dict[int, int]) -> None:
        """Begin an execution where the same step may have run before in this iteration."""
        executed[step.at] = executed.get(step.at, 0) + 1
        self._iteration.acting = -1
        if step.node is not None and step.node.stateful:
            cast("NodeState", step.node.state).mark()

    def _check_handle(self, at: int, sent: Sent) -> None:
        handle = sent[0]
        if handle is not None and handle not in self._steps[at].handles:
            known = ", ".join(sorted(str(each) for each in self._steps[at].handles if each is not None)) or "none"
            message = f"no edge leaves {self._steps[at].node_id} by the handle {handle!r}; those that do: {known}"
            raise BadOutput(message, handle=handle)

    def _split(self, at: int) -> None:
        """Begin to run the steps below once per item."""
        self._iteration.at = at
        self._check_join(at)
        if self._iteration.executed is None:
            self._iteration.executed = {}

    def _check_join(self, at: int) -> None:
        join = self._table.unsplit_join(at)
        if join is not None:
            node, of = self._steps[join].node_id, self._steps[at].node_id
            message = f"{node} joins what {of} returns as a list with something else: its join must be `each`"
            raise BadOutput(message, join=node)


def _open_next(branches: Iterator[_Branch | None], stack: _Stack) -> bool:
    """Open the next item's branch. Says whether EndIteration stood in its place."""
    for branch in branches:
        if branch is None:
            return True
        stack.append(branch)
        return False
    stack.pop()
    return False
