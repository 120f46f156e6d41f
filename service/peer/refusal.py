"""What a peer's status means to our caller: the very error that the peer raised.

Except where the peer speaks of this server, and not of our caller: of its key, or the name by
which it asks. And a fault inside the peer is none of ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from diglot.v1 import error_pb2

from ..errors import (
    ChatError,
    DeadlineExceeded,
    ModelNotFound,
    NotImplementedYet,
    RateLimited,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamUnavailable,
)
from ..status import DOMAIN, NEVER_AGAIN

_KEY = "The upstream does not accept this server's key."
_LOST = "The upstream cannot be reached, or broke off."
_FAILED = "The upstream failed while it worked on the request."
_LONGEST_CAUSE = 200
_TOO_LARGE = "The request is larger than the upstream takes."


def error_of(error: grpc.aio.AioRpcError, model: str) -> ChatError:
    """`model` is what our caller asked for."""
    said = _said(error, model)
    said.worked = NEVER_AGAIN in tuple(error.trailing_metadata() or ())
    said.cause = _cause(error)
    return said


def _cause(error: grpc.aio.AioRpcError) -> str:
    code = error.code()
    # What is gRPC's own says why nobody can be reached.
    own = code is grpc.StatusCode.UNAVAILABLE and error.details()
    return f"{code.name}: {own[:_LONGEST_CAUSE]}" if own else code.name


def _said(error: grpc.aio.AioRpcError, model: str) -> ChatError:
    details = _Details(error)
    if details.info is None:
        return _without_details(error.code(), error.details() or "")
    match details.info.reason:
        case "INVALID_API_KEY" | "PERMISSION_DENIED":
            return UpstreamInvalid(_KEY)
        case "INTERNAL":
            return UpstreamInvalid(_FAILED)
        case "MODEL_NOT_FOUND":
            return ModelNotFound(model)
        case reason:
            kind = _CLASSES.get(reason) or _NEAREST.get(error.code(), UpstreamInvalid)
    # Some classes word their message themselves; the peer's is worded already.
    same = kind.__new__(kind)
    ChatError.__init__(
        same,
        error.details() or _FAILED,
        field=details.field,
        retry_after=details.retry_after,
        details=dict(details.info.metadata),
    )
    return same


def _leaves(kind: type[ChatError]) -> Iterator[type[ChatError]]:
    if "reason" in vars(kind):
        yield kind
    for narrower in kind.__subclasses__():
        yield from _leaves(narrower)


_CLASSES = {
    error_pb2.ErrorReason.Name(kind.reason).removeprefix("ERROR_REASON_"): kind
    for kind in _leaves(ChatError)
}

# For reasons that are newer than this server, or that its core never gives.
_NEAREST: dict[grpc.StatusCode, type[ChatError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: UpstreamRefused,
    grpc.StatusCode.NOT_FOUND: UpstreamRefused,
    grpc.StatusCode.UNAVAILABLE: UpstreamUnavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: NotImplementedYet,
}


def _without_details(code: grpc.StatusCode, text: str) -> ChatError:
    """For a status that no Diglot made, but grpc itself, or a proxy between.

    Their texts name addresses and machinery, so the message is ours.
    """
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return UpstreamUnavailable(_LOST, retry_after=1)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded()
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return UpstreamInvalid(_KEY)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "CLIENT: Received" in text:
            return UpstreamInvalid("The upstream sent a chunk that is too long.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in text:
            return UpstreamRefused(_TOO_LARGE, details={"http_status": "413"})
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return RateLimited("The upstream's rate limit is reached.")
    return UpstreamInvalid(_FAILED)


class _Details:
    """The parts of a google.rpc.Status that an error has a place for."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.info: error_details_pb2.ErrorInfo | None = None
        self.field: str | None = None
        self.retry_after: float | None = None
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        status = _rich_status(error)
        for detail in status.details if status else ():
            if detail.Unpack(info):
                self.info = info if info.domain == DOMAIN else None
            elif detail.Unpack(bad_request) and bad_request.field_violations:
                self.field = bad_request.field_violations[0].field
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToMilliseconds() / 1000


def _rich_status(error: grpc.aio.AioRpcError) -> Status | None:
    try:
        # Made for a finished call, it reads an AioRpcError as well.
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):  # a proxy changed the status, but not its details
        return None
