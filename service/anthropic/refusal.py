"""What an error of the Messages API means to our caller."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ChatError, ContextLengthExceeded, UpstreamInvalid
from ..upstream import refusal
from ..upstream.surrogates import parsed

# What the status of a reply would have been, for errors that come within a stream.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_TOO_LONG = re.compile(r"prompt is too long: (\d{1,9}) tokens > (\d{1,9}) maximum")


def error_of(status: int, body: bytes, retry_after: str | None = None) -> ChatError:
    """The error for a reply that is none of 2xx."""
    try:
        value = parsed(body)
    except ValueError:
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    return _own(error, status) or refusal.error_of(status, body, retry_after)


def error_in(error: Any) -> ChatError:
    """The error for an `error` event in the middle of a stream."""
    kind = error.get("type") if isinstance(error, dict) else None
    status = _STATUS.get(kind, 500) if isinstance(kind, str) else 500
    return _own(error, status) or refusal.error_in(error, status)


def _own(error: Any, status: int) -> ChatError | None:
    """Where this API differs from OpenAI's."""
    if status == 402:  # about our account there, not the caller's
        return UpstreamInvalid("The upstream does not serve this server's account.")
    message = error.get("message") if isinstance(error, dict) else None
    if status in (400, 413) and isinstance(message, str) and (found := _TOO_LONG.search(message)):
        return ContextLengthExceeded(limit=int(found[2]), prompt=int(found[1]))
    return None
