"""The NodeConfig: what an author wrote about one node, as the node sees it (`self.context.config`)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.workflow.plan import Kind, RetryPolicy, Step


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The settings of one node, defaults filled in. Durations are seconds.

    `params` is `with` as it was written: secrets are still references there, and `self.params` has their values.
    """

    id: str
    label: str
    type: Kind
    uses: str
    params: Mapping[str, Any]
    push_queues: tuple[str, ...]
    pop_queues: tuple[str, ...]
    retry: RetryPolicy
    attempt_timeout: float | None

    @classmethod
    def of(cls, step: Step) -> NodeConfig:
        """Make it from a step of a plan."""
        return cls(
            id=step.node,
            label=step.label or step.node,
            type=step.kind,
            uses=step.uses or "",
            params=MappingProxyType(deepcopy(step.params)),
            push_queues=step.push_queues,
            pop_queues=step.pop_queues,
            retry=step.retry,
            attempt_timeout=step.attempt_timeout_s,
        )
