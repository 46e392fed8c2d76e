"""Rebalancing as it runs: after an agent has joined and all is calm, one move at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from treadle_controller.cluster.fleet import Liveness
from treadle_controller.cluster.model import State
from treadle_controller.cluster.rebalance import next_move
from treadle_controller.cluster.rollout import RolloutState
from treadle_controller.leader.image import WorkflowImage

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader

_LOOK_S: Final = 1.0
_STALE_S: Final = 30.0
_CALM_S: Final = 3.0  # after an agent has joined, and between two moves


class Rebalancing:
    """Looks at workflows as long as a move was found since the last agent joined; see cluster.rebalance for reasons."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._joined = 0  # how many agents had joined when all was found well
        self._not_before = 0.0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.run_once()

    def run_once(self) -> None:
        """Begin a move if there is a reason for one."""
        roster, now = self._leader.roster, self._leader.clock()
        if now > self._not_before + _STALE_S:
            for workflow in self._leader.image.workflows.values():
                workflow.moves.clear()  # somebody stopped what was to move
        if roster.joined == self._joined or not self._is_calm(now):
            return
        for workflow in self._leader.image.workflows.values():
            if self._move_one(workflow):
                self._not_before = now + _CALM_S
                return
        self._joined = roster.joined

    def _is_calm(self, now: float) -> bool:
        """Whether nothing else is going on: no agent is away, no rollout runs, no move is under way."""
        if now < max(self._not_before, self._leader.roster.joined_at + _CALM_S) or not self._leader.link.up:
            return False
        image = self._leader.image
        if any(agent.liveness is Liveness.DISCONNECTED or agent.draining for agent in image.fleet.agents.values()):
            return False
        return not any(one.moves or one.record.state == RolloutState.PROGRESSING for one in image.workflows.values())

    def _move_one(self, workflow: WorkflowImage) -> bool:
        image = self._leader.image
        if workflow.record.deleting or image.workflow_standing(workflow).state is not State.RUNNING:
            return False
        move = next_move(workflow.loops.values(), workflow.assignments, image.fleet)
        if move is None:
            return False
        workflow.moves[move.id] = move.agent
        self._leader.journal.add("loop", str(move.id), move.why.code, move.why.message, workflow=workflow.name)
        self._leader.touch(workflow.name)
        return True
