"""Everything that can go wrong with a call, as the core says it.

    ChatError
     ├─ InvalidRequest            the caller can mend it; `field` says where
     │   ├─ MissingValue
     │   ├─ InvalidValue
     │   ├─ UnsupportedParameter
     │   ├─ UnsupportedValue
     │   ├─ InvalidSchema
     │   ├─ ContextLengthExceeded
     │   └─ UpstreamRefused
     ├─ InvalidKey
     ├─ ModelNotFound
     ├─ NotFound
     ├─ NotImplementedYet
     ├─ RateLimited
     ├─ Unavailable               sending it again can help
     │   ├─ QueueFull
     │   ├─ NotReady
     │   ├─ ShuttingDown
     │   ├─ EngineLost
     │   ├─ UpstreamUnavailable
     │   └─ StoreUnavailable
     ├─ UpstreamInvalid
     ├─ InvalidAnswer
     ├─ DeadlineExceeded
     └─ InternalError

Each class names one ErrorReason of the contract. How a reason looks as a gRPC status, as
HTTP and to OpenAI's SDKs is the contract's table (proto/diglot/v1/error.proto): no other
place knows a status number.
"""

from __future__ import annotations

from typing import ClassVar

from diglot.v1 import error_pb2


class ChatError(Exception):
    """A call failed, for a reason that its caller may know.

    `message` is one or two sentences for the caller: no internals, no secrets. `field` is
    the path in the contract, for example `messages[2].parts[0].image_url.url`.
    `retry_after` is in seconds. `details` goes into ErrorInfo.metadata.
    """

    reason: ClassVar[error_pb2.ErrorReason.ValueType]
    worked = False
    """Whether an answer had begun. Then it is its caller's to send the call again: what lies
    between would have the work done once more, unasked."""
    cause: str | None = None
    """What an upstream did, for the operator's log: `HTTP 401`, `ConnectionRefusedError: …`. It may
    name machines, so callers do not get it."""

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.details = details or {}


class InvalidRequest(ChatError):
    """The request cannot be served as it is. Never raised itself."""


class MissingValue(InvalidRequest):
    reason = error_pb2.ERROR_REASON_MISSING_VALUE


class InvalidValue(InvalidRequest):
    reason = error_pb2.ERROR_REASON_INVALID_VALUE


class UnsupportedParameter(InvalidRequest):
    reason = error_pb2.ERROR_REASON_UNSUPPORTED_PARAMETER


class UnsupportedValue(InvalidRequest):
    reason = error_pb2.ERROR_REASON_UNSUPPORTED_VALUE


class InvalidSchema(InvalidRequest):
    reason = error_pb2.ERROR_REASON_INVALID_SCHEMA


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit. The sentence is OpenAI's: clients search it for the numbers."""

    reason = error_pb2.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED

    def __init__(self, limit: int, prompt: int) -> None:
        super().__init__(
            f"This model's maximum context length is {limit} tokens. However, your messages "
            f"resulted in {prompt} tokens. Please reduce the length of the messages.",
            field="messages",
            details={"limit_tokens": str(limit), "prompt_tokens": str(prompt)},
        )


class UpstreamRefused(InvalidRequest):
    """An upstream said no with a 4xx of its own, which is passed on as it is.

    `details` may carry `http_status`, `type` and `code`: the upstream's own words.
    """

    reason = error_pb2.ERROR_REASON_UPSTREAM_REFUSED


class InvalidKey(ChatError):
    reason = error_pb2.ERROR_REASON_INVALID_API_KEY


class ModelNotFound(ChatError):
    reason = error_pb2.ERROR_REASON_MODEL_NOT_FOUND

    def __init__(self, model: str) -> None:
        shown = model if len(model) <= 100 else model[:100] + "…"
        super().__init__(
            f"The model '{shown}' does not exist or you do not have access to it.", field="model"
        )


class NotFound(ChatError):
    """There is no such thing, or it is another caller's: nobody learns which."""

    reason = error_pb2.ERROR_REASON_NOT_FOUND


class NotImplementedYet(ChatError):
    reason = error_pb2.ERROR_REASON_NOT_IMPLEMENTED


class RateLimited(ChatError):
    reason = error_pb2.ERROR_REASON_RATE_LIMIT_EXCEEDED


class Unavailable(ChatError):
    """Not now. Never raised itself."""


class QueueFull(Unavailable):
    """The model has more to do than it takes on. `retry_after` in seconds."""

    reason = error_pb2.ERROR_REASON_QUEUE_FULL

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "The model has more requests than it can answer at the moment. Please try again later.",
            retry_after=retry_after,
        )


class NotReady(Unavailable):
    reason = error_pb2.ERROR_REASON_NOT_READY


class ShuttingDown(Unavailable):
    reason = error_pb2.ERROR_REASON_SHUTTING_DOWN


class EngineLost(Unavailable):
    reason = error_pb2.ERROR_REASON_ENGINE_LOST


class UpstreamUnavailable(Unavailable):
    reason = error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE


class StoreUnavailable(Unavailable):
    reason = error_pb2.ERROR_REASON_STORE_UNAVAILABLE


class UpstreamInvalid(ChatError):
    reason = error_pb2.ERROR_REASON_UPSTREAM_INVALID


class InvalidAnswer(ChatError):
    """The model answered, but not as it had to."""

    reason = error_pb2.ERROR_REASON_INVALID_ANSWER


class DeadlineExceeded(ChatError):
    reason = error_pb2.ERROR_REASON_DEADLINE_EXCEEDED

    def __init__(
        self, message: str = "The request's deadline passed before the answer was complete."
    ) -> None:
        super().__init__(message)


class InternalError(ChatError):
    reason = error_pb2.ERROR_REASON_INTERNAL

    def __init__(self) -> None:
        super().__init__(
            "The server had an error while processing your request. "
            "If it persists, report it with the request id."
        )


def name_of(error: ChatError) -> str:
    """The error's reason as ErrorInfo has it, for example MODEL_NOT_FOUND."""
    return error_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
