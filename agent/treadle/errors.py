"""Everything that treadle raises on purpose.

TreadleError
+-- DataError             a value that can't travel
|   +-- NotEncodable      a payload, state value or header that has no JSON-like form
|   +-- MessageTooLarge   one message above the limit
|   +-- IterationTooLarge one iteration pushes more than the limits allow
|   +-- StateTooLarge     a value of a node's state, or all of it, above the limit
|   +-- BadOutput         a node returned what no edge can take
|   +-- BadMessage        a message in a queue can't be read
+-- UndeclaredQueue       a node used a queue that its configuration doesn't name
+-- UndeclaredState       a node used state, and its class doesn't say so
+-- StateVersionError     state of another version that the node can't migrate
+-- DeadlineExceeded      an execution took longer than its settings allow
|   +-- AttemptTimeout    one attempt: `attempt_timeout`
|   +-- IterationTimeout  one iteration, retries included: `iteration_timeout`
+-- QueueEmpty            a queue-reader found no message in time, and `on_empty` is `error`
+-- LoopStopping          a wait ended because the loop is being drained
+-- Retry                 raised by a node: try this iteration again later
+-- Permanent             raised by a node: trying again is useless
+-- ConfigError           a configuration that can't be used
+-- CatalogError          node modules that can't be offered
+-- QueueError            the queue system refuses or can't be reached
    +-- TenureLost        this instance of the loop may not commit any more
"""

from __future__ import annotations

from typing import Any, ClassVar


class TreadleError(Exception):
    """treadle could not do what was asked.

    Every class has a stable `code`; the facts are in `details`, the sentence is for people.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])
        self.details = details

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class DataError(TreadleError):
    """A value can't travel between nodes."""

    code = "bad-data"


class NotEncodable(DataError):
    """A value has no JSON-like form: use mappings, lists, strings, numbers, booleans, null, bytes."""

    code = "not-encodable"


class MessageTooLarge(DataError):
    """One message is larger than a queue accepts."""

    code = "message-too-large"


class IterationTooLarge(DataError):
    """One iteration pushes more than may be committed at once."""

    code = "iteration-too-large"


class StateTooLarge(DataError):
    """A node's state is larger than may be kept."""

    code = "state-too-large"


class BadOutput(DataError):
    """A node returned what no edge can take."""

    code = "bad-output"


class BadMessage(DataError):
    """A message in a queue can't be read."""

    code = "bad-message"


class UndeclaredQueue(TreadleError):
    """A node used a queue that its `queues` don't name."""

    code = "undeclared-queue"


class UndeclaredState(TreadleError):
    """A node used `self.state`, and its class doesn't declare `stateful = True`."""

    code = "undeclared-state"


class StateVersionError(TreadleError):
    """The state was written by another version of the node, and can't be migrated."""

    code = "state-version"


class DeadlineExceeded(TreadleError):
    """An execution took longer than its settings allow."""

    code = "deadline-exceeded"


class AttemptTimeout(DeadlineExceeded):
    """An attempt took longer than `attempt_timeout`."""

    code = "attempt-timeout"


class IterationTimeout(DeadlineExceeded):
    """An iteration took longer than `iteration_timeout`."""

    code = "iteration-timeout"


class QueueEmpty(TreadleError):
    """A queue-reader found no message in time."""

    code = "queue-empty"


class LoopStopping(TreadleError):
    """The loop is being drained: the wait ended without a message."""

    code = "loop-stopping"


class Retry(TreadleError):
    """Raised by a node: this attempt failed, try again (`after` seconds from now, or by the policy)."""

    code = "retry"

    def __init__(self, message: str | None = None, *, after: float | None = None) -> None:
        super().__init__(message, after=after)
        self.after = after


class Permanent(TreadleError):
    """Raised by a node: this input can't be processed, trying again is useless."""

    code = "permanent"


class ConfigError(TreadleError):
    """A configuration can't be used."""

    code = "bad-config"


class CatalogError(TreadleError):
    """Node modules can't be offered."""

    code = "bad-catalog"


class QueueError(TreadleError):
    """The queue system refused a call or can't be reached."""

    code = "queue-error"


class TenureLost(QueueError):
    """This instance of the loop may not commit any more.

    `code` names the answer of the queues: fenced, conflict, gap, shifted, bad-type, wrong-redis.
    """

    code = "fenced"

    def __init__(self, message: str | None = None, *, reason: str = "fenced", **details: Any) -> None:
        super().__init__(message, reason=reason, **details)
        self.reason = reason
