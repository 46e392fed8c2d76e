"""What the agent raises on purpose.

AgentError (a TreadleError)
+-- BrokenFrame      a peer said something that is no frame
+-- SpawnFailed      a child process could not be started
+-- SessionBroken    the stream to the controller ended
+-- StateInUse       another agent uses the state folder
+-- ListenFailed     an address can't be listened on now
+-- EnrolmentRefused the token is not accepted, or the controller is another cluster's
"""

from __future__ import annotations

from treadle.errors import TreadleError


class AgentError(TreadleError):
    """The agent could not do what was asked."""

    code = "agent-error"


class BrokenFrame(AgentError):
    """A peer said something that is no frame."""

    code = "broken-frame"


class SpawnFailed(AgentError):
    """A child process could not be started."""

    code = "spawn-failed"


class SessionBroken(AgentError):
    """The stream to the controller ended."""

    code = "session-broken"


class StateInUse(AgentError):
    """Another agent uses the state folder."""

    code = "state-in-use"


class ListenFailed(AgentError):
    """An address can't be listened on now."""

    code = "listen-failed"


class EnrolmentRefused(AgentError):
    """The token is not accepted, and never will be: a new one is needed."""

    code = "enrolment-refused"
