"""What a workflow may use: the description of a node implementation, without its code.

CONTRACT: the catalog makes these on an agent, they travel to the controller, and checking a document needs
nothing else of user code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class NodeType:
    """One node implementation as an agent offers it."""

    uses: str
    role: Literal["producer", "node"]  # a node may be drawn as blocking or non-blocking
    schema: dict[str, Any] = field(default_factory=dict)  # JSON Schema of `with`
    doc: str = ""  # first paragraph of the class's docstring
    stateful: bool = False
    state_version: int = 1
    digest: str = ""  # of the code; "" for treadle's own, which change with the agent
    module: str = ""  # where it came from, for people
