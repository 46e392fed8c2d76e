"""Portions: much that was placed at once is written, told to Redis and sent one part after the other.

While the store has one part, Redis has the one before, and the agents of those before that start theirs and say so. A
part holds all that an agent got, so that no agent is sent more messages for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from treadle_controller.cluster.model import Assignment, ReplicaId
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.image import Image

MOST: Final = 2_000  # assignments in a part; fewer go faster alone than in two transactions


class Portions:
    """The parts of one round that come after the first."""

    def __init__(self, image: Image) -> None:
        self.most = MOST
        self._image = image
        self._unwritten: set[ReplicaId] = set()

    def __contains__(self, id_: ReplicaId) -> bool:
        """Whether a replica's assignment is not on disk yet."""
        return id_ in self._unwritten

    def cut(self, changes: Changes) -> list[list[ReplicaId]]:
        """Take the placements of all parts but the first out of a round's changes, and return them."""
        if len(changes.placed) <= self.most:
            return []
        by_agent: defaultdict[str, list[ReplicaId]] = defaultdict(list)
        for place in changes.placed:
            one = changes.assignments.get(place.id)
            if one is not None and one.held and not one.releasing:
                by_agent[one.agent].append(place.id)
        portions: list[list[ReplicaId]] = [[]]
        for ids in by_agent.values():
            if len(portions[-1]) >= self.most:
                portions.append([])
            portions[-1] += ids
        for portion in portions[1:]:
            self._unwritten.update(portion)
            for id_ in portion:
                changes.assignments.pop(id_, None)
        return portions[1:]

    def changes(self, portion: Iterable[ReplicaId]) -> Changes:
        """Return what has to be written of a part: as it is now, it may have got new epochs meanwhile."""
        found = {id_: one for id_ in portion if (one := self._now(id_)) is not None}
        return Changes(assignments=found)

    def written(self, portion: Iterable[ReplicaId]) -> None:
        self._unwritten.difference_update(portion)

    def _now(self, id_: ReplicaId) -> Assignment | None:
        workflow = self._image.workflows.get(id_.workflow)
        return workflow.assignments.get(id_) if workflow is not None else None
