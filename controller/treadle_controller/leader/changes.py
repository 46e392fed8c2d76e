"""What one round changed in memory and has yet to write, tell Redis and send."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from treadle.queues.tenure import LoopKey
from treadle.workflow.node_type import NodeType
from treadle_controller.cluster.actions import Place
from treadle_controller.cluster.model import Assignment, LoopRecord, ReplicaId
from treadle_controller.store import agents, assignments, consumers, events, workflows
from treadle_controller.store.records import AgentRecord, ConsumerRecord, EventRecord, WorkflowRecord


@dataclass(slots=True)
class Changes:
    """See the module."""

    assignments: dict[ReplicaId, Assignment] = field(default_factory=dict)
    loops: dict[tuple[str, str], LoopRecord] = field(default_factory=dict)
    dropped: list[LoopRecord] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)  # workflows
    forgotten: list[str] = field(default_factory=list)  # agents
    retired: list[ReplicaId] = field(default_factory=list)  # replicas that their loops no longer have
    judged: list[WorkflowRecord] = field(default_factory=list)  # workflows whose rollout came to something
    agents: dict[str, AgentRecord] = field(default_factory=dict)
    node_types: dict[str, NodeType] = field(default_factory=dict)
    events: list[EventRecord] = field(default_factory=list)
    consumers: dict[LoopKey, ConsumerRecord] = field(default_factory=dict)
    left: list[ConsumerRecord] = field(default_factory=list)  # consumers that gave up their slots
    epoch: int = 0  # the last one given out, 0 if none was
    beat: int = 0  # the last one that Redis confirmed, 0 if it need not be kept
    placed: list[Place] = field(default_factory=list)
    updated: set[ReplicaId] = field(default_factory=set)
    let_go: list[Assignment] = field(default_factory=list)  # as they were; their agents are told

    @property
    def to_write(self) -> bool:
        """Whether anything has to be on disk."""
        changed = (
            self.judged,
            self.assignments,
            self.loops,
            self.dropped,
            self.gone,
            self.agents,
            self.node_types,
            self.events,
            self.consumers,
            self.left,
        )
        return any(changed) or bool(self.retired or self.forgotten) or self.epoch > 0 or self.beat > 0

    def write(self, connection: Connection, namespace: str) -> None:
        """Write all of it, in the order that keeps a reader's picture whole."""
        if self.epoch:
            assignments.put_counter(connection, "epoch", self.epoch)
        if self.beat:
            assignments.put_counter(connection, "beat", self.beat)
        agents.put_node_types(connection, self.node_types.values())
        for record in self.judged:
            workflows.put_workflow(connection, namespace, record)
            workflows.judge_revision(
                connection,
                namespace,
                record.name,
                record.revision,
                state=record.state,
                why_code=record.why_code,
                why=record.why,
            )
        for name in self.forgotten:
            agents.drop_agent(connection, name)
        for agent in self.agents.values():
            agents.put_agent(connection, agent)
        workflows.put_loops(connection, namespace, self.loops.values())
        assignments.put_assignments(connection, namespace, self.assignments.values())
        assignments.drop_assignments(connection, namespace, self.retired)
        if self.dropped:
            workflows.drop_loops(connection, namespace, [(loop.workflow, loop.name) for loop in self.dropped])
        for name in self.gone:
            workflows.drop_workflow(connection, namespace, name)
        consumers.put_consumers(connection, namespace, self.consumers.values())
        consumers.drop_consumers(connection, namespace, self.left)
        events.add_events(connection, self.events)
