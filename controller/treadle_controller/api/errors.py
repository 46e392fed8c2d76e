"""What our errors are on the wire: google.rpc.Status with ErrorInfo and BadRequest, by one table.

The reason in ErrorInfo is the stable code. A refused document carries its findings in BadRequest and, as they
are, in a treadle.v1.ValidateWorkflowResponse. Details travel in a trailer, which HTTP/2 limits: beyond the budget
the rest is counted by a `more-findings` finding; ValidateWorkflow answers all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import wraps
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from treadle.errors import QueueError, TreadleError
from treadle.v1 import workflow_service_pb2
from treadle.workflow.findings import CODES, Finding
from treadle_controller import errors
from treadle_controller.api import convert

_log = logging.getLogger(__name__)
DOMAIN: Final = "treadle"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_FINDINGS_BUDGET: Final = 3_000  # bytes of a trailer that clients accept by default: 8 KiB, in base64
_VIOLATIONS_BUDGET: Final = 1_500
_MESSAGE_BUDGET: Final = 500

_CODES: Final[dict[type[TreadleError], grpc.StatusCode]] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidWorkflow: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.NotNow: grpc.StatusCode.UNAVAILABLE,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Refused: grpc.StatusCode.FAILED_PRECONDITION,
    QueueError: grpc.StatusCode.UNAVAILABLE,
    TreadleError: grpc.StatusCode.INTERNAL,
}
_QUEUE_REASONS: Final = {"FULL": "queue-full"}  # what a client can do something about
_QUEUE_CODES: Final = {
    "FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "BAD_TYPE": grpc.StatusCode.FAILED_PRECONDITION,
    "DEPOSED": grpc.StatusCode.FAILED_PRECONDITION,
}

P = ParamSpec("P")
Answer = TypeVar("Answer")


def answers(method: Callable[P, Coroutine[Any, Any, Answer]]) -> Callable[P, Coroutine[Any, Any, Answer]]:
    """Make a unary method answer our errors as the wire wants them."""

    @wraps(method)
    async def answered(*args: P.args, **kwargs: P.kwargs) -> Answer:
        try:
            return await method(*args, **kwargs)
        except aio.AbortError:
            raise
        except TreadleError as exc:
            await abort(_context(args, kwargs), exc)
        except Exception as exc:  # noqa: BLE001 - a bug must not look like a broken connection
            await abort(_context(args, kwargs), _unexpected(method.__qualname__, exc))

    return answered


def streams(method: Callable[P, AsyncIterator[Answer]]) -> Callable[P, AsyncIterator[Answer]]:
    """Make a streaming method answer our errors as the wire wants them."""

    @wraps(method)
    async def streamed(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Answer]:
        try:
            async for answer in method(*args, **kwargs):
                yield answer
        except aio.AbortError:
            raise
        except TreadleError as exc:
            await abort(_context(args, kwargs), exc)
        except Exception as exc:  # noqa: BLE001 - a bug must not look like a broken connection
            await abort(_context(args, kwargs), _unexpected(method.__qualname__, exc))

    return streamed


def _context(args: Sequence[Any], kwargs: Mapping[str, Any]) -> aio.ServicerContext[Any, Any]:
    """Return the context of a call: gRPC hands it over last."""
    context: aio.ServicerContext[Any, Any] = kwargs.get("context", args[-1])
    return context


async def abort(context: aio.ServicerContext[Any, Any], exc: TreadleError) -> NoReturn:
    """End a call with an error and its details."""
    code = code_of(exc)
    status = status_pb2.Status(code=code.value[0], message=exc.message[:_MESSAGE_BUDGET])
    for detail in details_of(exc):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    try:
        await context.abort(code, status.message, ((_DETAILS_KEY, status.SerializeToString()),))
    except aio.InternalError as gone:
        # Another AbortError than gRPC's own would be logged as a mistake of ours.
        raise asyncio.CancelledError("the caller has gone meanwhile") from gone
    raise AssertionError("abort returned")


def code_of(exc: TreadleError) -> grpc.StatusCode:
    if isinstance(exc, QueueError) and exc.details.get("reason") in _QUEUE_CODES:
        return _QUEUE_CODES[exc.details["reason"]]
    return next(code for kind, code in _CODES.items() if isinstance(exc, kind))


def details_of(exc: TreadleError) -> list[Message]:
    """Return the details: always an ErrorInfo, and what belongs to the kind of error."""
    metadata = {key: str(value)[:128] for key, value in exc.details.items() if value not in (None, "")}
    reason = exc.reason if isinstance(exc, errors.Refused) else exc.code
    if isinstance(exc, QueueError):
        reason = _QUEUE_REASONS.get(exc.details.get("reason", ""), reason)
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(exc, errors.InvalidRequest):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=exc.field, description=exc.message[:_MESSAGE_BUDGET], reason=exc.reason
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(exc, errors.InvalidWorkflow):
        details += _document_details(exc.findings)
    return details


def _document_details(findings: tuple[Finding, ...]) -> list[Message]:
    ranked = sorted(findings, key=lambda finding: finding.severity != "error")
    listed = workflow_service_pb2.ValidateWorkflowResponse(valid=False)
    bad = error_details_pb2.BadRequest()
    for finding in ranked:
        listed.findings.append(convert.finding(finding))
        if listed.ByteSize() > _FINDINGS_BUDGET:
            del listed.findings[-1]
            break
    left = len(findings) - len(listed.findings)
    if left:
        kind = CODES["more-findings"]
        more = Finding("more-findings", kind.severity, "", "", f"{left:,} more are not listed here", kind.fix)
        listed.findings.append(convert.finding(more))
    for finding in ranked:
        if finding.severity == "error" and bad.ByteSize() < _VIOLATIONS_BUDGET:
            bad.field_violations.add(field=finding.pointer, description=finding.message[:128], reason=finding.code)
    return [bad, listed]


def _unexpected(where: str, exc: Exception) -> TreadleError:
    _log.error("%s failed unexpectedly", where, exc_info=exc)
    return errors.ControllerError(f"the controller failed: {type(exc).__name__}; its log has the details")
