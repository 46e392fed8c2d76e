"""Every RPC x every role, from the one table; and the table against what the server serves."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.descriptor_pool import Default

from treadle_controller.access.caller import Caller, Role
from treadle_controller.access.policy import POLICY, may
from treadle_controller.api.server import served

LOOKS: Final = {Role.VIEWER, Role.OPERATOR, Role.ADMIN}
CHANGES: Final = {Role.OPERATOR, Role.ADMIN}
READS: Final = ("Get", "List", "Peek", "Watch", "Stream", "Validate", "Explain")


def methods() -> list[str]:
    """Return every method of every service that the server adds, by its descriptor."""
    pool: Any = Default()  # type: ignore[no-untyped-call] # it has no types
    return [f"/{service}/{method.name}" for service in served() for method in pool.FindServiceByName(service).methods]


def test_every_method_has_a_row_and_no_row_is_of_a_method_that_is_not_there() -> None:
    assert sorted(POLICY) == sorted(methods())


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("method", methods())
def test_a_role_may_what_its_row_says(method: str, role: Role) -> None:
    """Said a second time, in words: what only looks, what changes, who decides, and who speaks for itself."""
    service, _, name = method.removeprefix("/").partition("/")
    if service.startswith("grpc.health") or name in ("GetCaller", "EnrolAgent"):
        allowed = set(Role)
    elif service.startswith("grpc.reflection"):
        allowed = {*LOOKS, Role.AGENT}
    elif name in ("Session", "RenewAgent"):
        allowed = {Role.AGENT}
    elif name in ("CreateAgentToken", "RevokeAgent", "CreateClientToken", "RevokeClient"):
        allowed = {Role.ADMIN}
    else:
        allowed = LOOKS if name.startswith(READS) else CHANGES

    assert may(role, method) is (role in allowed)


@pytest.mark.parametrize("role", list(Role))
def test_a_method_without_a_row_is_refused_to_everybody(role: Role) -> None:
    assert not may(role, "/treadle.v1.WorkflowService/Invented")


def test_a_client_has_its_role_in_the_namespaces_that_name_it_and_nothing_elsewhere() -> None:
    ours = Caller("client", "ann", {"default": Role.OPERATOR})
    everywhere = Caller("client", "root", {"*": Role.ADMIN, "default": Role.VIEWER})

    assert (ours.role("default"), ours.role("other")) == (Role.OPERATOR, Role.NOBODY)
    assert (everywhere.role("default"), everywhere.role("other")) == (Role.VIEWER, Role.ADMIN)
    assert Caller("nobody").role("default") is Role.NOBODY
