"""What the session's machine wants done, in order."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.v1 import dispatcher_service_pb2 as wire


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to this controller on a new channel, and send what follows in order."""

    address: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send this on the current stream."""

    request: wire.SessionRequest


@dataclass(frozen=True, slots=True)
class Close:
    """End the current stream and its channel."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand this to the supervisor."""

    message: wire.Welcome | wire.Assignments | wire.LogSubscription


Output = Open | Send | Close | Deliver
