"""Requests that fail, and how that looks on each face.

`source` as in scenarios.py. Where OpenAI's own answer is not known (reference/errors.md
marks it), the row says what we chose.
"""

# ruff: noqa: E501  # a table reads better in one line a row

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import openai

from .plain import Json
from .scenarios import BOTH, HELLO, STREAMED, TOOLS, WHOLE
from .ways import KEY


@dataclass(frozen=True)
class Face:
    """What an error of one reason looks like."""

    reason: str
    """In google.rpc.ErrorInfo."""
    grpc_code: str
    status: int
    error: type[openai.APIStatusError]
    type: str
    code: str | None
    retryable: bool = False


BAD = openai.BadRequestError
DOWN = openai.InternalServerError
INVALID = Face(
    "INVALID_VALUE", "INVALID_ARGUMENT", 400, BAD, "invalid_request_error", "invalid_value"
)
MISSING = Face(
    "MISSING_VALUE",
    "INVALID_ARGUMENT",
    400,
    BAD,
    "invalid_request_error",
    "missing_required_parameter",
)
NO_KEY = Face(
    "INVALID_API_KEY",
    "UNAUTHENTICATED",
    401,
    openai.AuthenticationError,
    "invalid_request_error",
    "invalid_api_key",
)
NO_MODEL = Face(
    "MODEL_NOT_FOUND",
    "NOT_FOUND",
    404,
    openai.NotFoundError,
    "invalid_request_error",
    "model_not_found",
)
RATE = Face(
    "RATE_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    429,
    openai.RateLimitError,
    "requests",
    "rate_limit_exceeded",
    retryable=True,
)
BUG = Face("INTERNAL", "INTERNAL", 500, DOWN, "server_error", None)
NOT_READY = Face(
    "NOT_READY", "UNAVAILABLE", 503, DOWN, "server_error", "server_not_ready", retryable=True
)
LOST = Face("ENGINE_LOST", "UNAVAILABLE", 503, DOWN, "server_error", "engine_lost", retryable=True)
UPSTREAM = Face(
    "UPSTREAM_UNAVAILABLE",
    "UNAVAILABLE",
    503,
    DOWN,
    "server_error",
    "upstream_unavailable",
    retryable=True,
)
LATE = Face("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504, DOWN, "server_error", "timeout")


@dataclass(frozen=True)
class Failure:
    name: str
    request: Json
    face: Face
    source: str
    param: str | None = None
    """OpenAI's name of the place."""
    field: str | None = None
    """The contract's, where it is another."""
    retry_after: int | None = None
    """In seconds."""
    says: str = ""
    """A part of the message, the same on both faces."""
    begun: bool = False
    """Whether a stream has chunks before it fails."""
    key: str | None = KEY
    timeout: float = 30.0
    modes: tuple[str, ...] = BOTH

    @property
    def body(self) -> Json:
        return {"model": "scripted", "messages": [HELLO], **self.request}


def user(content: Any) -> Json:
    return {"messages": [HELLO, {"role": "user", "content": content}]}


def invalid(name: str, request: Json, param: str, **fields: Any) -> Failure:
    """A value that is out of its range: as most rows are."""
    return Failure(
        name,
        request,
        INVALID,
        "400 invalid_value, param is the path (§1, §6; #44)",
        param,
        **fields,
    )


def scripted(
    name: str, reason: str, face: Face, source: str, after: int = 0, **fields: Any
) -> Failure:
    return Failure(
        name,
        {"scripted": {"fail": reason, "fail_after": after}},
        face,
        source,
        begun=after > 0,
        **fields,
    )


AGAIN = "503 with Retry-After, which clients obey; never 500 (§6; #52)"
BROKEN = "status 200 has gone out: an event that the SDK raises as APIError, never a bare end (§3.1; #35)"
FORCED: Json = {"type": "function", "function": {"name": "nope"}}

FAILURES = [
    Failure("unknown model", {"model": "org/no-such:model"}, NO_MODEL, "404 model_not_found (§6); OpenAI's param is null, ours names the field (errors.md 3)",
            "model", says="The model 'org/no-such:model' does not exist"),
    Failure("no model", {"model": ""}, MISSING, "400 (§1)", "model"),
    Failure("no messages", {"messages": []}, MISSING, "400, minItems 1 (§1)", "messages", says="empty array"),
    invalid("temperature, too high", {"temperature": 2.1}, "temperature", says="2.1"),
    invalid("temperature, negative", {"temperature": -0.5}, "temperature"),
    invalid("top_p, too high", {"top_p": 1.5}, "top_p"),
    invalid("frequency_penalty, too low", {"frequency_penalty": -2.5}, "frequency_penalty"),
    invalid("presence_penalty, too high", {"presence_penalty": 3}, "presence_penalty"),
    invalid("n, 0", {"n": 0}, "n"),
    invalid("n, 129", {"n": 129}, "n"),
    invalid("max_tokens, 0", {"max_tokens": 0}, "max_tokens"),
    invalid("max_completion_tokens, negative", {"max_completion_tokens": -1}, "max_completion_tokens"),
    invalid("two limits", {"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    invalid("top_logprobs, 21", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    invalid("top_logprobs, alone", {"top_logprobs": 2}, "top_logprobs"),
    invalid("logit_bias, too high", {"logit_bias": {"5": 101}}, "logit_bias"),
    invalid("stop, five", {"stop": list("abcde")}, "stop"),
    invalid("stop, empty", {"stop": ["a", ""]}, "stop[1]"),
    invalid("metadata, 17", {"metadata": {str(i): "" for i in range(17)}}, "metadata"),
    invalid("modality, unknown", {"modalities": ["text", "smell"]}, "modalities[1]"),
    Failure("audio, without options", {"modalities": ["text", "audio"]}, MISSING, "needed if modalities has audio (§1)", "audio"),
    invalid("tool name", {"tools": [TOOLS[0], {"type": "function", "function": {"name": "no spaces"}}]}, "tools[1].function.name"),
    invalid("custom tool name", {"tools": [{"type": "custom", "custom": {"name": ""}}]}, "tools[0].custom.name"),
    invalid("tool_choice, without tools", {"tool_choice": "required"}, "tool_choice"),
    invalid("tool_choice, not among them", {"tools": TOOLS, "tool_choice": FORCED}, "tool_choice", says="nope"),
    invalid("response_format name", {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}, "response_format.json_schema.name"),
    invalid("an image in a system message",
            {"messages": [HELLO, {"role": "system", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[1].content[1]", field="messages[1].parts[1]"),
    Failure("an assistant's message that says nothing", {"messages": [HELLO, {"role": "assistant"}]}, MISSING, "content is required unless it calls (§1.1)",
            "messages[1].content"),
    Failure("no parts", user([]), MISSING, "400, min 1 (§1.1)", "messages[1].content"),
    invalid("stream_options, without stream", {"stream_options": {"include_usage": True}}, "stream_options", modes=(WHOLE,), says="stream"),
    invalid("a vendor key that the engine refuses", {"scripted": {"nope": 1}}, "scripted.nope", field="extra_json.scripted.nope"),

    Failure("wrong key", {}, NO_KEY, "401 invalid_api_key (§6)", key="sk-wrong"),
    Failure("no key", {}, NO_KEY, "401 invalid_api_key (§6)", key=None),
    Failure("no key, and more that is wrong", {"n": 0, "model": "?"}, NO_KEY, "who has no key learns nothing else", key=None),

    scripted("rate limit", "RATE_LIMIT_EXCEEDED", RATE, "429 rate_limit_exceeded with Retry-After (§6; #52)", retry_after=1),
    scripted("not ready", "NOT_READY", NOT_READY, AGAIN, retry_after=1, modes=(WHOLE,)),
    scripted("engine lost", "ENGINE_LOST", LOST, AGAIN, retry_after=1, says="The script says: ENGINE_LOST."),
    scripted("upstream unavailable", "UPSTREAM_UNAVAILABLE", UPSTREAM, AGAIN, retry_after=1, modes=(STREAMED,)),
    scripted("bug", "BUG", BUG, "500 server_error; SDKs would repeat it, so x-should-retry: false (§6)"),
    scripted("rate limit, after a while", "RATE_LIMIT_EXCEEDED", RATE, BROKEN, after=2, retry_after=1),
    scripted("engine lost, after a while", "ENGINE_LOST", LOST, BROKEN, after=2, retry_after=1, says="The script says: ENGINE_LOST.", modes=(STREAMED,)),
    scripted("bug, after a while", "BUG", BUG, BROKEN, after=1),

    Failure("deadline", {"scripted": {"interval_ms": 600_000}}, LATE, "504, and no use in sending it again (errors.md 3)", begun=True, timeout=0.25),
]  # fmt: skip
