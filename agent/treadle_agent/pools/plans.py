"""Plans as the loops of a host keep them: what is equal in many of them is there once.

A host may have ten thousand loops whose plans differ in the name of a queue. Steps and policies that are equal are
shared; a plan is never changed, so nobody can tell.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from treadle.workflow.plan import Placement, Plan, Step

T = TypeVar("T")

_KEPT: Final = 64  # of each kind, the last used ones
_NOWHERE: Final = Placement()
_FIELDS: Final = tuple(field.name for field in fields(Step) if field.name != "params")
_values: Final = attrgetter(*_FIELDS)
_read: Final = msgspec.json.Decoder(Plan).decode


def read_plan(encoded: bytes) -> Plan:
    """Return the plan that a frame carries as JSON. Raises msgspec.MsgspecError."""
    plan = _read(encoded)
    return replace(
        plan,
        workflow=shared(plan.workflow),
        digest=shared(plan.digest),
        steps=tuple(_step(_values(step), msgspec.json.encode(step.params)) for step in plan.steps),
        placement=_NOWHERE if plan.placement == _NOWHERE else plan.placement,
        restart=shared(plan.restart),
        resources=shared(plan.resources),
    )


@lru_cache(_KEPT)
def shared(value: T) -> T:
    """Return the first of equal values; they can't be changed."""
    return value


@lru_cache(_KEPT)
def _step(values: tuple[Any, ...], params: bytes) -> Step:
    # The parameters are read once more: a number like 1.0 must not become another one that it is equal to.
    found = dict(zip(_FIELDS, values, strict=True))
    found["retry"] = shared(found["retry"])
    return Step(params=msgspec.json.decode(params), **found)
