"""What wfctl ends with when it does not end well: an exit code and a sentence each.

WfctlError                1
+-- Refused               1  the controller refuses, or failed
+-- Unreachable           1  there is no controller at the address
+-- DaemonFailed          1  a daemon of `wfctl dev` does not start, or dies again and again
+-- BadUsage              2  an argument, file or configuration that can't be used
+-- InvalidWorkflow       3  a document with findings
+-- NotFound              4
+-- Conflict              5  somebody else was faster
+-- Unhealthy             6  timed out, or a loop is in ERROR
+-- NotPlaceable          7  no agent can take a loop
+-- Stalled               8  a loop failed, and has nothing more to do: waiting longer is useless
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from treadle.errors import TreadleError

if TYPE_CHECKING:
    from wfctl.findings import Finding


class WfctlError(TreadleError):
    """The command failed."""

    code = "failed"
    exit_code: ClassVar[int] = 1


class Refused(WfctlError):
    """The controller refused the request."""

    code = "refused"


class Unreachable(WfctlError):
    """There is no controller at the address."""

    code = "unreachable"


class DaemonFailed(WfctlError):
    """A daemon does not start, or died again and again."""

    code = "daemon-failed"


class BadUsage(WfctlError):
    """An argument, file or configuration can't be used."""

    code = "bad-usage"
    exit_code = 2


class InvalidWorkflow(WfctlError):
    """A workflow document has errors; they are in `findings`."""

    code = "invalid-workflow"
    exit_code = 3

    def __init__(self, message: str | None = None, *, findings: Sequence[Finding] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class NotFound(WfctlError):
    """There is no such thing."""

    code = "not-found"
    exit_code = 4


class Conflict(WfctlError):
    """Somebody else changed it in the meantime."""

    code = "conflict"
    exit_code = 5


class Unhealthy(WfctlError):
    """It did not become healthy in time."""

    code = "unhealthy"
    exit_code = 6


class NotPlaceable(WfctlError):
    """No agent can take a loop."""

    code = "not-placeable"
    exit_code = 7


class Stalled(WfctlError):
    """A loop failed, and has nothing more to do."""

    code = "stalled"
    exit_code = 8
