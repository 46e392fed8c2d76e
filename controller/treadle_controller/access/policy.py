"""Who may call what: the one table. An RPC without a row is refused to everybody, and a test fails.

A new RPC gets its row here, and nothing anywhere else. `READ`: whoever may look. `CHANGE`: operators and admins, with a
line in the audit. `DATA` is `CHANGE` for messages themselves, of which there are too many for a line each. `MANAGE`:
admins, who decide who may. `AGENTS`: agents, for themselves. `ANYBODY`: also without an identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from treadle_controller.access.caller import Role


@dataclass(frozen=True, slots=True)
class Rule:
    """Which roles may call a method, and whether each call is written down."""

    roles: frozenset[Role]
    audited: bool = False


_PEOPLE: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
READ: Final = Rule(frozenset(_PEOPLE))
DATA: Final = Rule(frozenset({Role.OPERATOR, Role.ADMIN}))
CHANGE: Final = Rule(DATA.roles, audited=True)
MANAGE: Final = Rule(frozenset({Role.ADMIN}), audited=True)
AGENTS: Final = Rule(frozenset({Role.AGENT}))
ANYBODY: Final = Rule(frozenset(Role))

_TABLE: Final[dict[str, dict[str, Rule]]] = {
    "treadle.v1.WorkflowService": {
        "ValidateWorkflow": READ,
        "ApplyWorkflow": CHANGE,
        "GetWorkflow": READ,
        "ListWorkflows": READ,
        "DeleteWorkflow": CHANGE,
        "GetRevision": READ,
        "ListRevisions": READ,
        "GetRollout": READ,
        "UndoRollout": CHANGE,
    },
    "treadle.v1.LoopService": {
        "GetLoop": READ,
        "ListLoops": READ,
        "StartLoops": CHANGE,
        "StopLoops": CHANGE,
        "PauseLoops": CHANGE,
        "ResumeLoops": CHANGE,
        "RestartLoops": CHANGE,
        "ScaleLoop": CHANGE,
        "ExplainLoop": READ,
    },
    "treadle.v1.QueueService": {
        "GetQueue": READ,
        "ListQueues": READ,
        "PeekQueue": READ,
        "PushQueue": DATA,
        "Consume": DATA,
        "DeleteConsumer": CHANGE,
        "PurgeQueue": CHANGE,
        "DeleteQueue": CHANGE,
        "GetQueueServer": READ,
        "ListDeadLetters": READ,
        "GetDeadLetter": READ,
        "ReplayDeadLetters": CHANGE,
        "DropDeadLetters": CHANGE,
    },
    "treadle.v1.AgentService": {
        "GetAgent": READ,
        "ListAgents": READ,
        "CordonAgent": CHANGE,
        "UncordonAgent": CHANGE,
        "DrainAgent": CHANGE,
        "CreateAgentToken": MANAGE,
        "RevokeAgent": MANAGE,
    },
    "treadle.v1.NodeTypeService": {
        "GetNodeType": READ,
        "ListNodeTypes": READ,
    },
    "treadle.v1.EventService": {
        "ListEvents": READ,
        "StreamEvents": READ,
        "WatchWorkflow": READ,
        "StreamLogs": READ,
    },
    "treadle.v1.ClientService": {
        "GetCaller": ANYBODY,
        "CreateClientToken": MANAGE,
        "RevokeClient": MANAGE,
    },
    "treadle.v1.EnrolmentService": {
        "EnrolAgent": Rule(ANYBODY.roles, audited=True),
        "RenewAgent": Rule(AGENTS.roles, audited=True),
    },
    "treadle.v1.DispatcherService": {
        "Session": AGENTS,
    },
    "grpc.health.v1.Health": {
        "Check": ANYBODY,
        "Watch": ANYBODY,
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": Rule(frozenset((*_PEOPLE, Role.AGENT))),
    },
}

POLICY: Final[dict[str, Rule]] = {
    f"/{service}/{method}": rule for service, methods in _TABLE.items() for method, rule in methods.items()
}


def may(role: Role, method: str) -> bool:
    """Return whether a role may call a method, named as `/package.Service/Method`."""
    rule = POLICY.get(method)
    return rule is not None and role in rule.roles
