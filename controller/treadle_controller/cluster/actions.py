"""What the reconciler decides. The leader carries actions out in this order: store, Redis, agents."""

from __future__ import annotations

import msgspec

from treadle_controller.cluster.model import Desired, LoopRecord, ReplicaId, State, Why


class Place(msgspec.Struct, frozen=True, gc=False):
    """Give a replica to an agent under a new epoch."""

    id: ReplicaId
    agent: str
    loop: LoopRecord
    forget: bool = False  # its node state first
    reopen: bool = False  # it had completed
    heard: bool = False  # its agent may know it already, at this epoch or an older one


class Update(msgspec.Struct, frozen=True, gc=False):
    """Tell the agent that what is wanted of a replica that it holds has changed."""

    id: ReplicaId
    desired: Desired
    restarts: int


class Release(msgspec.Struct, frozen=True, gc=False):
    """Ask the agent to drain a replica at an iteration boundary and let it go."""

    id: ReplicaId
    why: Why


class Free(msgspec.Struct, frozen=True, gc=False):
    """Nobody holds a replica any more: it was let go, it completed, or its agent is lost."""

    id: ReplicaId
    state: State
    why: Why | None = None


class Wait(msgspec.Struct, frozen=True, gc=False):
    """A replica can't be placed, or can't be let go yet; shown as its reason."""

    id: ReplicaId
    why: Why


class Probe(msgspec.Struct, frozen=True, gc=False):
    """Look whether a tail's queues are empty, so that it may be let go."""

    loop: str
    queues: tuple[str, ...]


class Drop(msgspec.Struct, frozen=True, gc=False):
    """A removed loop is gone from all agents: forget that it was there."""

    loop: str


Action = Place | Update | Release | Free | Wait | Probe | Drop
