"""The tables, the same for SQLite and PostgreSQL. Migrations bring a database here; see `migrations/`."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

HEAD: Final = "0007"  # the newest migration

METADATA: Final = MetaData()


def _name(title: str, *, key: bool = False) -> Column[str]:
    return Column(title, String(512), primary_key=key, nullable=False)


def _number(title: str, *, key: bool = False) -> Column[int]:
    return Column(title, BigInteger, primary_key=key, autoincrement=False, nullable=False, default=0)


def _verdict() -> tuple[Column[Any], ...]:
    """Return what became of a revision's rollout: a cluster.rollout.RolloutState, and why."""
    return (
        Column("state", Integer, nullable=False, server_default="20"),
        Column("why_code", Text, nullable=False, server_default=""),
        Column("why", Text, nullable=False, server_default=""),
    )


# `redis_id` is the one that its Redis had when it was last met.
NAMESPACES: Final = Table(
    "namespaces", METADATA, _name("name", key=True), Column("created", Float, nullable=False), _name("redis_id")
)

# One number per name: the last epoch, term and event sequence given out.
COUNTERS: Final = Table("counters", METADATA, _name("name", key=True), _number("value"))

WORKFLOWS: Final = Table(
    "workflows",
    METADATA,
    _name("namespace", key=True),
    _name("name", key=True),
    _number("revision"),
    _name("digest"),
    Column("deleting", Boolean, nullable=False),
    Column("with_queues", Boolean, nullable=False),  # a delete takes them along
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    *_verdict(),
    Column("healthy", BigInteger, nullable=False, server_default="0"),  # the last revision that was
    Column("returned_from", BigInteger, nullable=False, server_default="0"),
)

# Immutable. `compiled` is the JSON of treadle.workflow.plan.Compiled.
REVISIONS: Final = Table(
    "revisions",
    METADATA,
    _name("namespace", key=True),
    _name("workflow", key=True),
    _number("number", key=True),
    _name("digest"),
    Column("document", LargeBinary, nullable=False),
    Column("compiled", LargeBinary, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created", Float, nullable=False),
    *_verdict(),
)

# `revision` is the one whose plan the loop runs.
LOOPS: Final = Table(
    "loops",
    METADATA,
    _name("namespace", key=True),
    _name("workflow", key=True),
    _name("loop", key=True),
    _number("revision"),
    Column("desired", Integer, nullable=False),
    _number("restarts"),
    _number("fresh"),
    Column("removed", Boolean, nullable=False),
    Column("entered", Boolean, nullable=False),
    Column("scaled", Integer, nullable=False, server_default="0"),
    Column("past_committed", BigInteger, nullable=False, server_default="0"),
    Column("past_errors", BigInteger, nullable=False, server_default="0"),
)

ASSIGNMENTS: Final = Table(
    "assignments",
    METADATA,
    _name("namespace", key=True),
    _name("workflow", key=True),
    _name("loop", key=True),
    Column("replica", Integer, primary_key=True, autoincrement=False),
    _name("agent"),
    Column("held", Boolean, nullable=False),
    _number("epoch"),
    _number("sequence"),
    _number("revision"),
    _name("digest"),
    Column("desired", Integer, nullable=False),
    _number("restarts"),
    Column("releasing", Boolean, nullable=False),
    Column("completed", Boolean, nullable=False),
    _number("committed"),
    _number("errors"),
    Column("code", String(512), nullable=False, server_default=""),
)

AGENTS: Final = Table(
    "agents",
    METADATA,
    _name("name", key=True),
    Column("version", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON
    Column("slots", Text, nullable=False),  # JSON
    Column("uses", Text, nullable=False),  # JSON
    Column("cordoned", Boolean, nullable=False),
    Column("seen", Float, nullable=False),
    Column("drain_until", Float, nullable=False, server_default="0"),  # wall clock; 0: it is not drained
)

# Every node type that an agent ever offered.
NODE_TYPES: Final = Table(
    "node_types",
    METADATA,
    _name("uses", key=True),
    _name("role"),
    Column("schema", Text, nullable=False),  # JSON
    Column("doc", Text, nullable=False),
    Column("stateful", Boolean, nullable=False),
    Column("state_version", Integer, nullable=False),
    _name("digest"),
    Column("module", Text, nullable=False),
)

# The queue dictionary. `mentioned` is false once no workflow names the queue.
QUEUES: Final = Table(
    "queues",
    METADATA,
    _name("namespace", key=True),
    _name("name", key=True),
    _name("workflow", key=True),
    Column("spec", Text, nullable=False),  # JSON of treadle.workflow.plan.Queue
    Column("mentioned", Boolean, nullable=False),
)

# Programs outside that read a queue as one of its readers. `epoch` is the last one that each was given.
CONSUMERS: Final = Table(
    "consumers",
    METADATA,
    _name("namespace", key=True),
    _name("queue", key=True),
    _name("name", key=True),
    _number("epoch"),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False, server_default="0"),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    _number("sequence", key=True),
    Column("time", Float, nullable=False),
    _name("kind"),
    Column("name", Text, nullable=False),
    _name("namespace"),
    _name("workflow"),
    _name("code"),
    Column("message", Text, nullable=False),
    Column("actor", Text, nullable=False),
)
Index("events_by_workflow", EVENTS.c.namespace, EVENTS.c.workflow, EVENTS.c.sequence)

# Answers already given, by request id.
REQUESTS: Final = Table(
    "requests",
    METADATA,
    _name("request_id", key=True),
    _name("method"),
    _name("fingerprint"),
    Column("answer", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
)
Index("requests_by_time", REQUESTS.c.created)

# Tokens by the SHA-256 of their secret; agents' are good for one enrolment, `used` says when it was.
TOKENS: Final = Table(
    "tokens",
    METADATA,
    _name("digest", key=True),
    _name("kind"),
    _name("name"),
    _name("role"),
    _name("namespace"),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used", Float, nullable=False),
)

# Whatever an agent or client was given up to a moment does not count any more.
REVOCATIONS: Final = Table(
    "revocations", METADATA, _name("kind", key=True), _name("name", key=True), Column("until", Float, nullable=False)
)
