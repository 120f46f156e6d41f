"""Errors in the reference: the contract's table, told for each operation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from diglot.v1 import error_pb2 as e
from diglot.v1.error_pb2 import ErrorReason

from .errors import MAPPINGS
from .openapi_comments import comments
from .openapi_fields import Schema

Reason: TypeAlias = "ErrorReason.ValueType"

# Any call may end with these: they are about the caller, what it says before the body, or about
# the server's state.
ALWAYS: tuple[Reason, ...] = (
    e.ERROR_REASON_INVALID_API_KEY,
    e.ERROR_REASON_PERMISSION_DENIED,
    e.ERROR_REASON_RATE_LIMIT_EXCEEDED,
    e.ERROR_REASON_INTERNAL,
    e.ERROR_REASON_NOT_READY,
    e.ERROR_REASON_SHUTTING_DOWN,
    e.ERROR_REASON_DEADLINE_EXCEEDED,
    e.ERROR_REASON_REQUEST_TIMEOUT,
    e.ERROR_REASON_HEADERS_TOO_LARGE,
    e.ERROR_REASON_URL_TOO_LONG,
)
# Of a JSON body.
OF_BODY: tuple[Reason, ...] = (
    e.ERROR_REASON_INVALID_JSON,
    e.ERROR_REASON_MISSING_VALUE,
    e.ERROR_REASON_INVALID_TYPE,
    e.ERROR_REASON_INVALID_VALUE,
    e.ERROR_REASON_REQUEST_TOO_LARGE,
    e.ERROR_REASON_UNSUPPORTED_MEDIA_TYPE,
)
# Of a completion under way, or refused.
OF_COMPLETION: tuple[Reason, ...] = (
    *OF_BODY,
    e.ERROR_REASON_UNSUPPORTED_PARAMETER,
    e.ERROR_REASON_UNSUPPORTED_VALUE,
    e.ERROR_REASON_INVALID_SCHEMA,
    e.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED,
    e.ERROR_REASON_UPSTREAM_REFUSED,
    e.ERROR_REASON_MODEL_NOT_FOUND,
    e.ERROR_REASON_QUEUE_FULL,
    e.ERROR_REASON_ENGINE_LOST,
    e.ERROR_REASON_UPSTREAM_UNAVAILABLE,
    e.ERROR_REASON_UPSTREAM_INVALID,
    e.ERROR_REASON_INVALID_ANSWER,
    e.ERROR_REASON_STORE_UNAVAILABLE,
    e.ERROR_REASON_NOT_IMPLEMENTED,
)
# Of what was stored.
OF_STORE: tuple[Reason, ...] = (
    e.ERROR_REASON_STORE_UNAVAILABLE,
    e.ERROR_REASON_NOT_IMPLEMENTED,
)
OF_ONE_STORED: tuple[Reason, ...] = (*OF_STORE, e.ERROR_REASON_NOT_FOUND)
# Of a list's parameters.
OF_LIST: tuple[Reason, ...] = (e.ERROR_REASON_INVALID_VALUE, e.ERROR_REASON_INVALID_TYPE)
# Of a request that fits no operation.
OF_NO_OPERATION: tuple[Reason, ...] = (
    e.ERROR_REASON_UNKNOWN_URL,
    e.ERROR_REASON_METHOD_NOT_ALLOWED,
)
EVERY: tuple[Reason, ...] = tuple(
    dict.fromkeys((*OF_COMPLETION, *OF_ONE_STORED, *ALWAYS, *OF_NO_OPERATION))
)

_HEADERS: dict[str, Schema] = {
    "x-should-retry": {
        "description": "Whether the same request can succeed if it is sent again.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    "Retry-After": {
        "description": "Seconds to wait before that, where they are known.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to show a key.",
        "schema": {"type": "string", "const": "Bearer"},
    },
}
REQUEST_ID: dict[str, Schema] = {
    "x-request-id": {
        "description": "Names the request in the server's log: the caller's own, if it sent one.",
        "schema": {"type": "string"},
    }
}


@dataclass(frozen=True, slots=True)
class Row:
    """A reason, as the reference shows it."""

    status: int
    code: str | None
    type: str
    retryable: bool
    text: str


def row(reason: Reason) -> Row:
    mapping = MAPPINGS[reason]
    return Row(
        status=mapping.http_status,
        code=mapping.code if mapping.HasField("code") else None,
        type=mapping.type,
        retryable=mapping.retryable,
        text=comments()[ErrorReason.Name(reason)].removesuffix(" Only over HTTP."),
    )


def error_responses(reasons: Iterable[Reason]) -> dict[str, Schema]:
    """By status."""
    rows = sorted((row(reason) for reason in reasons), key=lambda row: row.status)
    return {
        str(status): _response([row for row in rows if row.status == status])
        for status in dict.fromkeys(row.status for row in rows)
    }


def upstreams_refusal() -> Schema:
    """Any 4xx: an upstream's own, which is passed on."""
    return {
        "description": "An upstream refused the request, with this status, type and code of its "
        "own.",
        **_content(["x-should-retry"]),
    }


def _response(rows: list[Row]) -> Schema:
    headers = ["x-should-retry"]
    if any(row.retryable for row in rows) or rows[0].status == 502:
        headers.append("Retry-After")  # an upstream's 500, of those
    if rows[0].status == 401:
        headers.append("WWW-Authenticate")
    lines = [f"- `{row.code or row.type}`: {row.text}" for row in rows]
    return {"description": "\n".join(lines), **_content(headers)}


def _content(headers: list[str]) -> Schema:
    return {
        "headers": {**{name: _HEADERS[name] for name in headers}, **REQUEST_ID},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}},
    }
