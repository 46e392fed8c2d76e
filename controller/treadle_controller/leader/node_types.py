"""Node types as they travel, and as checking a document wants them."""

from __future__ import annotations

from typing import Any

from treadle.v1 import node_type_pb2 as pb
from treadle.workflow.node_type import NodeType
from treadle_controller.store import codec


def from_wire(one: pb.NodeType) -> NodeType:
    schema: Any = codec.decode(one.schema_json) if one.schema_json else {}
    return NodeType(
        uses=one.uses,
        role="producer" if one.role == pb.NODE_ROLE_PRODUCER else "node",
        schema=schema if isinstance(schema, dict) else {},
        doc=one.doc,
        stateful=one.stateful,
        state_version=one.state_version,
        digest=one.digest,
        module=one.module,
    )


def to_wire(one: NodeType, agents: list[str]) -> pb.NodeType:
    return pb.NodeType(
        uses=one.uses,
        role=pb.NODE_ROLE_PRODUCER if one.role == "producer" else pb.NODE_ROLE_NODE,
        schema_json=codec.encode_text(one.schema),
        doc=one.doc,
        stateful=one.stateful,
        state_version=one.state_version,
        digest=one.digest,
        module=one.module,
        agents=agents,
    )
