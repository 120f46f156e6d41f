"""What an upstream's error means to our caller."""

from __future__ import annotations

from typing import Any

from ..errors import (
    ChatError,
    ContextLengthExceeded,
    RateLimited,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamUnavailable,
)
from .retry_after import seconds_of
from .surrogates import parsed

LONGEST_BODY = 64 * 2**10
"""Bytes that are read of an error's body."""


def error_of(status: int, body: bytes, retry_after: str | None = None) -> ChatError:
    """The error for a reply that is none of 2xx.

    A 4xx is the upstream's word on the request, and is passed on with it; except for
    401 and 403, which are about our key there, not the caller's: told, but not in the
    upstream's words, and nothing that sending it again could mend.

    What fails with 500 may do better a moment later: OpenAI's guide says to send it again, and
    all SDKs do.
    """
    try:
        value = parsed(body)
    except ValueError:
        value = None
    error = value.get("error", value) if isinstance(value, dict) else value
    said = error_in(error, status, seconds_of(retry_after))
    if status == 500 and said.retry_after is None:
        said.retry_after = 1
    said.cause = f"HTTP {status}"
    return said


def error_in(error: Any, status: int = 500, retry_after: float | None = None) -> ChatError:
    """The error for an `error` object, as it also comes in the middle of a stream."""
    body = error if isinstance(error, dict) else {"message": error}
    message = str(body.get("message") or "")
    code = body.get("code")
    if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599:
        status = code  # how llama.cpp and vLLM say it in a stream
    if overflow := _overflow(body, message):
        return overflow
    if status in (401, 403):
        return UpstreamInvalid("The upstream does not accept this server's key.")
    if status == 429:
        told = message or "The upstream's rate limit is reached."
        return RateLimited(told, retry_after=retry_after)
    if 400 <= status < 500 and status != 408:
        return UpstreamRefused(
            message or f"The upstream refused the request with status {status}.",
            field=_text(body.get("param")),
            details={
                "http_status": str(status),
                "type": _text(body.get("type")) or "invalid_request_error",
            }
            | ({"code": code} if isinstance(code, str) else {}),
        )
    if status in (502, 503, 504, 408, 529):
        return UpstreamUnavailable(
            "The upstream is not available.", retry_after=1 if retry_after is None else retry_after
        )
    return UpstreamInvalid("The upstream failed while it worked on the request.")


def _overflow(body: dict[str, Any], message: str) -> ContextLengthExceeded | None:
    limit, prompt = body.get("n_ctx"), body.get("n_prompt_tokens")
    if isinstance(limit, int) and isinstance(prompt, int):  # llama.cpp tells both
        return ContextLengthExceeded(limit, prompt)
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
