"""generate: makes numbered items."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from treadle.data import LoopComplete
from treadle.node import Params, ProducerNode


class GenerateParams(Params):
    """How many items, and what is in them."""

    limit: int | None = Field(None, ge=0, description="How many items to make; without it, they never end.")
    start: int = Field(0, description="The first number.")
    value: dict[str, Any] = Field(default_factory=dict, description="Constant fields of every item.")


class Generate(ProducerNode[GenerateParams]):
    """Makes items `{"n": 0, ...}`, `{"n": 1, ...}` and so on, each exactly once: for demonstrations and tests."""

    uses = "generate"
    stateful = True
    inline = True

    def execute(self) -> dict[str, Any] | LoopComplete:
        made = self.state.get("made", 0)
        if self.params.limit is not None and made >= self.params.limit:
            return LoopComplete()
        self.state["made"] = made + 1
        return {**self.params.value, "n": self.params.start + made}
