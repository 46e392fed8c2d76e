"""Everything that the controller refuses or fails with on purpose.

TreadleError
+-- ControllerError
    +-- Refused             the request can't be done; says why, and names the object
    |   +-- InvalidRequest  a field of the request is wrong (`field`)
    |   +-- InvalidWorkflow a document with errors (`findings`)
    |   +-- NotFound        `kind` and `name` of what is not there
    |   +-- Conflict        somebody else was first, or the object is not as it has to be
    |   +-- NotNow          the controller can't say or do it now; trying again helps
    |   +-- Unauthenticated nobody knows who asks: no certificate or token, or one that is no good
    |   +-- Denied          who asks is known, and may not
    +-- Deposed             another controller leads now
    +-- StartFailed         the controller can't start
        +-- StoreInUse      another controller uses the store
        +-- UnfitRedis      the Redis server would lose messages
        +-- NeedsMending    no restart helps: somebody has to mend something
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.errors import TreadleError
from treadle.mistakes import is_mistake
from treadle.workflow.findings import Finding


class ControllerError(TreadleError):
    """The controller could not do what was asked."""

    code = "controller-error"


class Refused(ControllerError):
    """The request can't be done.

    `reason` is the stable code that clients see; `kind` and `name` say which object it is about.
    """

    code = "refused"

    def __init__(self, message: str, *, reason: str = "", kind: str = "", name: str = "") -> None:
        self.reason = reason or self.code
        self.kind = kind
        self.name = name
        super().__init__(message, reason=self.reason, kind=kind, name=name)


class InvalidRequest(Refused):
    """A field of the request is wrong."""

    code = "bad-request"

    def __init__(self, message: str, *, field: str, reason: str = "") -> None:
        super().__init__(message, reason=reason)
        self.field = field


class InvalidWorkflow(Refused):
    """The document has errors."""

    code = "invalid-workflow"

    def __init__(self, message: str, findings: Sequence[Finding], *, name: str = "") -> None:
        super().__init__(message, kind="workflow", name=name)
        self.findings = tuple(findings)


class NotFound(Refused):
    """There is no such object."""

    code = "not-found"


class Conflict(Refused):
    """The object is not as the request expects it."""

    code = "conflict"


class NotNow(Refused):
    """It can't be said or done now; trying again helps."""

    code = "unavailable"


class Unauthenticated(Refused):
    """It is not known who asks."""

    code = "unauthenticated"


class Denied(Refused):
    """Who asks may not do this."""

    code = "permission-denied"


class Deposed(ControllerError):
    """Another controller leads now; this one has to end."""

    code = "deposed"


class StartFailed(ControllerError):
    """The controller can't start."""

    code = "start-failed"


class StoreInUse(StartFailed):
    """Another controller uses the store."""

    code = "store-in-use"


class UnfitRedis(StartFailed):
    """The Redis server would lose messages."""

    code = "unfit-redis"


class NeedsMending(StartFailed):
    """No restart helps: somebody has to mend the configuration, or what it names."""

    code = "needs-mending"


def start_failure(message: str, exc: OSError) -> StartFailed:
    """Return what to raise for an error of the operating system: it may pass, or never will."""
    return NeedsMending(message) if is_mistake(exc) else StartFailed(message)
