"""How a ChatError travels over gRPC: a status with google.rpc details.

The in-process channel raises the very same, so that the façade has one way to read errors.
"""

from __future__ import annotations

import asyncio
import logging

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from diglot.v1 import error_pb2

from .errors import ChatError, InternalError, ShuttingDown, name_of

logger = logging.getLogger("diglot.rpc")

DOMAIN = "diglot"

# grpc-core replaces trailers over 8 to 16 KiB by RESOURCE_EXHAUSTED, and a message is sent
# twice: once percent-encoded, once inside the details.
_LONGEST_MESSAGE = 1000


def mapping(reason: error_pb2.ErrorReason.ValueType) -> error_pb2.ErrorMapping:
    """The row of the contract's table."""
    options = error_pb2.ErrorReason.DESCRIPTOR.values_by_number[reason].GetOptions()
    row: error_pb2.ErrorMapping = options.Extensions[error_pb2.error_mapping]
    return row


def to_status(error: ChatError, request_id: str) -> status_pb2.Status:
    message = error.message
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "…"
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=name_of(error),
            domain=DOMAIN,
            metadata={key: value[:200] for key, value in error.details.items()},
        ),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field[:200], description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(
        code=grpc.StatusCode[mapping(error.reason).grpc_code].value[0], message=message
    )
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def to_rpc_error(error: ChatError, request_id: str) -> grpc.aio.AioRpcError:
    """What a client's stub would raise if this error came over the wire."""
    status = rpc_status.to_status(to_status(error, request_id))
    return grpc.aio.AioRpcError(
        status.code,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(
            ("x-request-id", request_id), *status.trailing_metadata
        ),
        details=status.details,
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
