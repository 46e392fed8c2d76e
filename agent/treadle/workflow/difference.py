"""The difference between two revisions of a workflow, loop by loop, with reasons for people.

Whether a loop changed is decided by its digest alone; plans are compared only to say why. Values are shown for
treadle's own settings, never for `with`: an author may have put a password there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.workflow.plan import Compiled, Plan, Queue, Step

Status = Literal["created", "changed", "unchanged", "removed"]

_NOT_COMPARED: Final = frozenset({"workflow", "loop", "steps", "digest", "tail_of", "tails"})
_MAX_REASONS: Final = 20


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one loop or queue, and why."""

    name: str
    status: Status
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What applying a revision over another changes; a queue's limits change without touching its loops."""

    loops: tuple[Change, ...]
    queues: tuple[Change, ...] = ()
    workflow: tuple[str, ...] = ()  # reasons that concern the rollout

    @property
    def empty(self) -> bool:
        """Whether both mean the same."""
        changes = (*self.loops, *self.queues)
        return not self.workflow and all(change.status == "unchanged" for change in changes)

    def named(self, status: Status) -> tuple[str, ...]:
        """The loops of that status."""
        return tuple(change.name for change in self.loops if change.status == status)


def diff(old: Compiled | None, new: Compiled | None) -> Difference:
    """What changes from one revision to the next; None is no revision: nothing was there, or nothing is to be."""
    before = {plan.loop: plan for plan in old.plans} if old else {}
    after = {plan.loop: plan for plan in new.plans} if new else {}
    gone = {plan.digest: name for name, plan in before.items() if name not in after}
    loops = [
        _loop(name, before.get(name), after.get(name), gone)
        for name in sorted({*before, *after}, key=lambda name: name.split("~"))
    ]
    queues_before = {queue.name: queue for queue in old.queues} if old else {}
    queues_after = {queue.name: queue for queue in new.queues} if new else {}
    names = sorted({*queues_before, *queues_after})
    queues = [_queue(name, queues_before.get(name), queues_after.get(name)) for name in names]
    return Difference(tuple(loops), tuple(queues), tuple(_rollout(old, new)))


def _loop(name: str, old: Plan | None, new: Plan | None, gone: dict[str, str]) -> Change:
    if old is None and new is not None:
        former = gone.get(new.digest)
        told = (f"was called '{former}': it starts anew, and the state of '{former}' is left behind",) if former else ()
        return Change(name, "created", told)
    if old is None or new is None:
        return Change(name, "removed")
    if old.digest == new.digest:
        return Change(name, "unchanged")
    reasons = [*_settings(old, new), *_steps(old, new)]
    if len(reasons) > _MAX_REASONS:
        reasons = [*reasons[:_MAX_REASONS], f"and {len(reasons) - _MAX_REASONS:,} more"]
    return Change(name, "changed", tuple(reasons) or ("a value that was a default is written out, or no longer is",))


def _settings(old: Any, new: Any, prefix: str = "") -> Iterator[str]:
    """The fields in which two plans, or two policies of theirs, differ."""
    for field in fields(old):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name in _NOT_COMPARED or before == after:
            continue
        name = prefix + field.name.removesuffix("_s")
        if hasattr(before, "__dataclass_fields__"):
            yield from _settings(before, after, f"{name}.")
        else:
            yield f"{name}: {_value(before)} -> {_value(after)}"


def _steps(old: Plan, new: Plan) -> Iterator[str]:
    before = {step.node: step for step in old.steps}
    after = {step.node: step for step in new.steps}
    for node in sorted({*before, *after}):
        if node not in before:
            yield f"node '{node}' added"
        elif node not in after:
            yield f"node '{node}' removed"
        else:
            yield from (f"node '{node}': {reason}" for reason in _step(before[node], after[node], old, new))
    kept = [step.node for step in old.steps if step.node in after]
    if kept != [step.node for step in new.steps if step.node in before]:
        yield "the order of execution changed"


def _step(old: Step, new: Step, old_plan: Plan, new_plan: Plan) -> Iterator[str]:
    for field in fields(old):
        before: Any = getattr(old, field.name)
        after: Any = getattr(new, field.name)
        if field.name == "inputs":
            before, after = _inputs(old, old_plan), _inputs(new, new_plan)
        if field.name == "label" or before == after:
            continue
        if field.name == "params":
            yield from _params(before, after)
        elif field.name == "retry":
            yield from _settings(before, after, "retry.")
        elif field.name == "tail_queue":
            yield "its tail became a loop of its own" if after else "its tail is gone"
        elif field.name == "kind":
            yield f"type: {before} -> {after}"
        else:
            yield f"{field.name.removesuffix('_s')}: {_value(before)} -> {_value(after)}"


def _inputs(step: Step, plan: Plan) -> tuple[str, ...]:
    return tuple(
        f"{plan.steps[given.source].node}{f'[{given.handle}]' if given.handle else ''} as {given.key}"
        for given in step.inputs
    )


def _params(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if key not in new:
            yield f"with.{key} removed"
        elif key not in old:
            yield f"with.{key} added"
        elif old[key] != new[key]:
            yield f"with.{key} changed"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _queue(name: str, old: Queue | None, new: Queue | None) -> Change:
    if old is None:
        return Change(name, "created")
    if new is None:
        return Change(name, "removed")
    reasons = tuple(_settings(old, new))
    return Change(name, "changed" if reasons else "unchanged", reasons)


def _rollout(old: Compiled | None, new: Compiled | None) -> Iterator[str]:
    if old is None or new is None:
        return
    if old.max_parallel != new.max_parallel:
        yield f"rollout.max_parallel: {old.max_parallel} -> {new.max_parallel}"
    if old.progress_deadline_s != new.progress_deadline_s:
        yield f"rollout.progress_deadline: {old.progress_deadline_s:g} s -> {new.progress_deadline_s:g} s"
