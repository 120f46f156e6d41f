"""Errors as OpenAI's clients see them.

    Refusal         raised by the façade itself, for what never reaches the service
    AioRpcError     raised by the channel
      -> ApiError   a status, headers and a body; or, in a stream that has begun, an event

What each reason looks like stands in one place: the options of diglot.v1.ErrorReason.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from diglot.v1 import error_pb2
from diglot.v1.error_pb2 import ErrorMapping, ErrorReason

from .param import to_param

_log = logging.getLogger(__name__)

_PREFIX = "ERROR_REASON_"
_DOMAIN = "diglot"

MAPPINGS: Mapping[ErrorReason.ValueType, ErrorMapping] = {
    reason: ErrorReason.DESCRIPTOR.values_by_number[reason]
    .GetOptions()
    .Extensions[error_pb2.error_mapping]
    for reason in ErrorReason.values()
}
_REASONS: Mapping[str, ErrorReason.ValueType] = {
    name.removeprefix(_PREFIX): number for name, number in ErrorReason.items()
}

# For a status that did not come from a Diglot service: grpc itself, or a proxy between, made
# it. Their texts name addresses and machinery, so the message is ours.
_WITHOUT_DETAILS: Mapping[grpc.StatusCode, tuple[ErrorReason.ValueType, str]] = {
    grpc.StatusCode.UNAVAILABLE: (
        error_pb2.ERROR_REASON_NOT_READY,
        "The service cannot be reached, or is not ready, at the moment. Please try again.",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
        "The request took longer than the server allows.",
    ),
    grpc.StatusCode.CANCELLED: (
        error_pb2.ERROR_REASON_SHUTTING_DOWN,
        "The service stopped before the request was done. Please try again.",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        error_pb2.ERROR_REASON_RATE_LIMIT_EXCEEDED,
        "Too many requests. Please try again later.",
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        error_pb2.ERROR_REASON_INVALID_API_KEY,
        "Incorrect API key provided.",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        error_pb2.ERROR_REASON_PERMISSION_DENIED,
        "This API key may not do this.",
    ),
    grpc.StatusCode.NOT_FOUND: (error_pb2.ERROR_REASON_NOT_FOUND, "There is no such thing."),
    grpc.StatusCode.UNIMPLEMENTED: (
        error_pb2.ERROR_REASON_NOT_IMPLEMENTED,
        "The service does not implement this.",
    ),
    grpc.StatusCode.INVALID_ARGUMENT: (
        error_pb2.ERROR_REASON_INVALID_VALUE,
        "The service refused the request as invalid.",
    ),
}
_INTERNAL = (
    error_pb2.ERROR_REASON_INTERNAL,
    "The server had an error while processing your request. Its log tells more under the "
    "request id of this answer.",
)
_TOO_LARGE = (
    error_pb2.ERROR_REASON_REQUEST_TOO_LARGE,
    "The request is larger than the service takes.",
)


class Refusal(Exception):
    """The façade cannot hand this request on."""

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param
        self.headers = headers or {}

    @classmethod
    def wrong_type(cls, param: str, expected: str, value: object) -> Refusal:
        """`expected` with its article: "a number"."""
        message = f"Invalid type for '{param}': expected {expected}, but got {kind(value)} instead."
        return cls(error_pb2.ERROR_REASON_INVALID_TYPE, message, param)


def kind(value: object) -> str:
    """What JSON calls the value, with its article."""
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "an integer", str: "a string", list: "an array"}
    return kinds.get(type(value), "an object" if isinstance(value, dict) else "a number")


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error on its way to the client."""

    status: int
    headers: Mapping[str, str]
    message: str
    type: str
    param: str | None
    code: str | None

    @property
    def body(self) -> bytes:
        """OpenAI's error object; all four keys are always there."""
        fields = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        # A message may quote a URL, and that may be no Unicode.
        return json.dumps({"error": fields}, ensure_ascii=False).encode(errors="replace")

    @property
    def event(self) -> bytes:
        """The error as a line of a stream that has begun."""
        return b"data: " + self.body + b"\n\n"


def from_refusal(refusal: Refusal) -> ApiError:
    return _api_error(refusal.reason, refusal.message, refusal.param, refusal.headers)


def internal_error() -> ApiError:
    """For what nobody foresaw. Tells nothing: the log has it."""
    return _api_error(*_INTERNAL)


def from_rpc_error(error: grpc.aio.AioRpcError) -> ApiError:
    details = _Details(error)
    reason, message = _without_details(error)
    if details.info is None:
        if reason == error_pb2.ERROR_REASON_INTERNAL:
            _log.error("the service failed: %s: %s", error.code().name, error.details())
        return _api_error(reason, message)

    # A reason that this version does not know keeps the meaning of its code.
    reason = _REASONS.get(details.info.reason, reason)
    overrides = details.info.metadata
    mapping = MAPPINGS[reason]
    answer = _api_error(reason, error.details() or message, details.param, details.headers)
    return ApiError(
        status=_status(overrides.get("http_status", ""), mapping.http_status),
        headers=answer.headers,
        message=answer.message,
        type=overrides.get("type") or answer.type,
        param=answer.param,
        # Here "" is a value: an upstream's null.
        code=overrides.get("code", answer.code) or None,
    )


class _Details:
    """The parts of a google.rpc.Status that HTTP has a place for."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.info: error_details_pb2.ErrorInfo | None = None
        self.param: str | None = None
        self.headers: dict[str, str] = {}
        status = _rich_status(error)
        for detail in status.details if status else ():
            # Unpack would look up the type three times over.
            match detail.TypeName():
                case "google.rpc.ErrorInfo":
                    info = error_details_pb2.ErrorInfo.FromString(detail.value)
                    self.info = info if info.domain == _DOMAIN else None
                case "google.rpc.BadRequest":
                    bad_request = error_details_pb2.BadRequest.FromString(detail.value)
                    if bad_request.field_violations:
                        self.param = to_param(bad_request.field_violations[0].field)
                case "google.rpc.RetryInfo":
                    delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
                    # Rounded up, and never 0: clients take 0 for "at once".
                    seconds = delay.seconds + (delay.nanos > 0)
                    self.headers["Retry-After"] = str(max(1, seconds))


def _rich_status(error: grpc.aio.AioRpcError) -> Status | None:
    try:
        # Made for a finished call, it reads an AioRpcError as well.
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):  # a proxy changed the status, but not its details
        return None


def _without_details(error: grpc.aio.AioRpcError) -> tuple[ErrorReason.ValueType, str]:
    code = error.code()
    text = error.details() or ""
    # The only trace of a limit that grpc itself enforces is its text. What the client
    # received, or metadata, is nothing that our own client could make smaller.
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if "CLIENT: Received" in text or "metadata size" in text:
            return _INTERNAL
        if "larger than max" in text:
            return _TOO_LARGE
    return _WITHOUT_DETAILS.get(code, _INTERNAL)


def _status(override: str, otherwise: int) -> int:
    return int(override) if override.isdecimal() and 400 <= int(override) <= 599 else otherwise


def _api_error(
    reason: ErrorReason.ValueType,
    message: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ApiError:
    mapping = MAPPINGS[reason]
    sent = dict(headers or {})
    # Without it, OpenAI's SDKs repeat every 5xx, whatever sense that makes.
    sent["x-should-retry"] = "true" if mapping.retryable or "Retry-After" in sent else "false"
    if mapping.http_status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    return ApiError(
        status=mapping.http_status,
        headers=sent,
        message=message,
        type=mapping.type,
        param=param,
        code=mapping.code if mapping.HasField("code") else None,
    )
