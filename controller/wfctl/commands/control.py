"""`wfctl start|stop|pause|resume|restart|scale`: what somebody wants a workflow, or one loop of it, to be."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from wfctl import output
from wfctl.cli import DURATION, Verb, target, with_settings
from wfctl.errors import BadUsage
from wfctl.settings import Settings

if TYPE_CHECKING:
    from wfctl.client import Client
    from wfctl.waiting import Goal


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what the five verbs share."""
    function = click.option(
        "--wait-timeout", type=DURATION, default="60s", show_default=True, help="How long to wait."
    )(function)
    function = click.option("--detach", is_flag=True, help="Do not wait until it is done.")(function)
    return click.argument("what", metavar="WORKFLOW[/LOOP]")(function)


@click.command(cls=Verb)
@options
@with_settings
def start(settings: Settings, what: str, *, detach: bool, wait_timeout: float) -> None:
    """Start a stopped workflow or loop."""
    from wfctl.waiting import is_healthy

    _control(settings, "Start", what, is_healthy, None if detach else wait_timeout)


@click.command(cls=Verb)
@options
@with_settings
def stop(settings: Settings, what: str, *, detach: bool, wait_timeout: float) -> None:
    """Stop a workflow or loop at an iteration boundary; its state stays, its slot is free."""
    from wfctl.waiting import is_at_rest

    _control(settings, "Stop", what, is_at_rest, None if detach else wait_timeout)


@click.command(cls=Verb)
@options
@with_settings
def pause(settings: Settings, what: str, *, detach: bool, wait_timeout: float) -> None:
    """Pause a workflow or loop at an iteration boundary; it keeps its slot."""
    from wfctl.waiting import is_paused

    _control(settings, "Pause", what, is_paused, None if detach else wait_timeout)


@click.command(cls=Verb)
@options
@with_settings
def resume(settings: Settings, what: str, *, detach: bool, wait_timeout: float) -> None:
    """Let a paused workflow or loop go on."""
    from wfctl.waiting import is_healthy

    _control(settings, "Resume", what, is_healthy, None if detach else wait_timeout)


@click.command(cls=Verb)
@click.option("--fresh", is_flag=True, help="Forget the state of its nodes first.")
@options
@with_settings
def restart(settings: Settings, what: str, *, fresh: bool, detach: bool, wait_timeout: float) -> None:
    """Restart a workflow or loop; it goes on from its state unless --fresh is given."""
    from treadle.v1 import workflow_service_pb2
    from wfctl.client import Client
    from wfctl.waiting import is_as_before, is_reborn

    workflow, _ = target(what)
    request = workflow_service_pb2.GetWorkflowRequest(namespace=settings.namespace, name=workflow)
    with Client(settings) as client:
        before = client.call(client.workflows.GetWorkflow, request).workflow
    limit_s = None if detach else wait_timeout
    _control(settings, "Restart", what, is_reborn(before), limit_s, is_as_before(before), fresh=fresh)


@click.command(cls=Verb)
@click.option("--replicas", type=click.IntRange(1, 1000), required=True, help="How many it should have.")
@options
@with_settings
def scale(settings: Settings, what: str, *, replicas: int, detach: bool, wait_timeout: float) -> None:
    """Change how many replicas a loop has; its tails follow. Nothing is lost, nothing is done twice.

    It stands until a revision changes the number that the document gives.
    """
    from treadle.v1 import loop_service_pb2
    from wfctl import rows, waiting
    from wfctl.client import Client

    workflow, loop = target(what)
    if not loop:
        raise BadUsage(f"{what!r} names no loop; write WORKFLOW/LOOP (wfctl get loops lists them)")
    request = loop_service_pb2.ScaleLoopRequest(
        namespace=settings.namespace, workflow=workflow, loop=loop, replicas=replicas, request_id=str(uuid.uuid4())
    )
    with Client(settings) as client:
        answer = client.call(client.loops.ScaleLoop, request)
        if not detach:
            _await(client, workflow, loop, waiting.is_healthy, wait_timeout, answer)
    output.show(answer, rows.loops(answer.loops), settings)


def _control(
    settings: Settings,
    verb: str,
    what: str,
    goal: Goal,
    timeout_s: float | None,
    old: Goal | None = None,
    **more: Any,
) -> None:
    from treadle.v1 import loop_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    workflow, loop = target(what)
    whom = loop_service_pb2.LoopTarget(namespace=settings.namespace, workflow=workflow, loop=loop)
    request = getattr(loop_service_pb2, f"{verb}LoopsRequest")(target=whom, **more)
    with Client(settings) as client:
        answer = client.call(getattr(client.loops, f"{verb}Loops"), request)
        if timeout_s is not None:
            _await(client, workflow, loop, goal, timeout_s, answer, old)
    output.show(answer, rows.loops(answer.loops), settings)


def _await(
    client: Client, workflow: str, loop: str, goal: Goal, timeout_s: float, answer: Any, old: Goal | None = None
) -> None:
    """Wait for the goal, and let the answer show the loops as they are then."""
    from wfctl import waiting

    seen = waiting.until(client, workflow, goal, loop=loop, timeout_s=timeout_s, old=old)
    touched = {item.name for item in answer.loops}
    del answer.loops[:]
    answer.loops.extend(item for item in seen.loops if item.name in touched)
