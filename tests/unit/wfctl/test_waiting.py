"""When a wait is over, from what a controller says of a workflow."""

from __future__ import annotations

from treadle.v1 import loop_pb2, workflow_pb2
from wfctl import waiting


def workflow(*, epoch: int, told: int, incarnation: int) -> workflow_pb2.Workflow:
    """A workflow of one loop that has an epoch, of which an epoch and an incarnation were told."""
    status = loop_pb2.LoopStatus(epoch=told, incarnation=incarnation)
    instance = loop_pb2.Replica(epoch=epoch, status=status)
    loop = loop_pb2.Loop(name="one", state=loop_pb2.LOOP_STATE_RUNNING, instances=[instance])
    return workflow_pb2.Workflow(name="w", loops=[loop])


def test_a_loop_is_reborn_in_its_next_incarnation() -> None:
    goal = waiting.is_reborn(workflow(epoch=1, told=1, incarnation=1))

    assert not goal(workflow(epoch=1, told=1, incarnation=1).loops[0])
    assert goal(workflow(epoch=1, told=1, incarnation=2).loops[0])


def test_a_loop_that_was_given_an_epoch_and_had_not_begun_it_is_reborn_when_it_does() -> None:
    goal = waiting.is_reborn(workflow(epoch=2, told=1, incarnation=1))

    assert not goal(workflow(epoch=2, told=1, incarnation=1).loops[0])
    assert goal(workflow(epoch=2, told=2, incarnation=1).loops[0])
