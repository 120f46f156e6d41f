"""How a ChatError travels over gRPC: a status with google.rpc details.

The in-process channel raises the very same, so that the façade has one way to read errors.
"""

from __future__ import annotations

import asyncio
import logging
from functools import cache

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from diglot.v1 import error_pb2

from .errors import ChatError, InternalError, ShuttingDown, name_of

logger = logging.getLogger("diglot.rpc")

DOMAIN = "diglot"

NEVER_AGAIN = ("grpc-retry-pushback-ms", "-1")
"""How gRPC's retries are told to let it be, whatever the code is (gRFC A6)."""

# grpc-core replaces trailers over 8 to 16 KiB by RESOURCE_EXHAUSTED, and a message is sent three
# times: once percent-encoded, where each byte that is not ASCII becomes three, and twice in base64.
_LONGEST_MESSAGE = 1000
_LONGEST_DETAIL = 200


@cache
def mapping(reason: error_pb2.ErrorReason.ValueType) -> error_pb2.ErrorMapping:
    """The row of the contract's table."""
    options = error_pb2.ErrorReason.DESCRIPTOR.values_by_number[reason].GetOptions()
    row: error_pb2.ErrorMapping = options.Extensions[error_pb2.error_mapping]
    return row


@cache
def _code(reason: error_pb2.ErrorReason.ValueType) -> int:
    number: int = grpc.StatusCode[mapping(reason).grpc_code].value[0]
    return number


def to_status(error: ChatError, request_id: str) -> status_pb2.Status:
    message = _cut(error.message, _LONGEST_MESSAGE)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=name_of(error),
            domain=DOMAIN,
            metadata={key: _cut(value, _LONGEST_DETAIL) for key, value in error.details.items()},
        ),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(error.field, _LONGEST_DETAIL), description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        seconds, rest = divmod(round(error.retry_after * 1000), 1000)
        delay = Duration(seconds=seconds, nanos=rest * 1_000_000)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=_code(error.reason), message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _cut(text: str, most: int) -> str:
    """At most so many bytes of it in UTF-8, which has no lone surrogates."""
    spelt = text.encode("utf-8", "replace")
    return spelt[:most].decode("utf-8", "ignore") + ("…" if len(spelt) > most else "")


def to_grpc(
    error: ChatError, request_id: str
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Code, text and trailing metadata."""
    status = rpc_status.to_status(to_status(error, request_id))
    never = (NEVER_AGAIN,) if error.worked else ()
    trailers = (("x-request-id", request_id), *never, *status.trailing_metadata)
    return status.code, status.details, trailers


def to_rpc_error(error: ChatError, request_id: str) -> grpc.aio.AioRpcError:
    """What a client's stub would raise if this error came over the wire."""
    code, details, trailers = to_grpc(error, request_id)
    return grpc.aio.AioRpcError(
        code,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(*trailers),
        details=details,
    )


def as_chat_error(error: Exception, request_id: str) -> ChatError:
    """What a caller may know of any exception. One that is not ours is a bug, and is logged."""
    if isinstance(error, ChatError):
        return error
    logger.error("unexpected error", exc_info=error, extra={"request_id": request_id})
    return InternalError()


def as_lost(request_id: str) -> ChatError:
    """For a CancelledError that nobody asked for.

    A handler that lets one escape leaves its client without a status until its deadline
    (grpc/grpc#29248).
    """
    logger.error("a task of ours was cancelled", extra={"request_id": request_id})
    return ShuttingDown("The server is stopping. Please send the request again.", retry_after=1)


def cancelled_by_us() -> bool:
    """Whether the CancelledError being handled was not asked of the current task."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
