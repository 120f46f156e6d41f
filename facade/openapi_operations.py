"""The operations of the HTTP face, as OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from diglot.v1 import error_pb2 as e

from .openapi_errors import (
    ALWAYS,
    OF_BODY,
    OF_COMPLETION,
    OF_LIST,
    OF_ONE_STORED,
    OF_STORE,
    REQUEST_ID,
    Reason,
    error_responses,
    upstreams_refusal,
)
from .openapi_fields import Schema

Operation: TypeAlias = dict[str, Any]

_STREAM = """\
Server-sent events, if the request says `"stream": true`; Accept is not looked at. The schema is
that of one event.

- Each event is one line `data: ` with a `ChatCompletionChunk` in JSON, and an empty line.
- Adding up the deltas, choice by choice, gives the completion. All chunks have one id.
- A choice's first chunk brings its role; the last one its finish_reason, and an empty delta.
- A tool call begins with its id, type and name; what follows has only its index and text.
- With `stream_options.include_usage` a last chunk has `usage` and no choices.
- The end is `data: [DONE]`. Where the stream fails, the end is an event with an `ErrorResponse`
  instead, never a clean end.
- Lines with nothing but a colon keep a silent connection open."""

# Until OpenAPI 3.2 the schema of an event stream is, by custom, the schema of an event.
_EVENT: Schema = {
    "type": "object",
    "description": _STREAM,
    "required": ["data"],
    "properties": {
        "data": {
            "anyOf": [
                {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {
                        "anyOf": [
                            {"$ref": "#/components/schemas/ChatCompletionChunk"},
                            {"$ref": "#/components/schemas/ErrorResponse"},
                        ]
                    },
                },
                {"type": "string", "const": "[DONE]"},
            ]
        }
    },
}

_COMPLETION_ID: Schema = {
    "name": "completion_id",
    "in": "path",
    "required": True,
    "description": "The completion's id.",
    "schema": {"type": "string", "minLength": 1},
}
_TIMEOUT: Schema = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "How many seconds the caller waits: the call ends then, with a 504, and in a "
    "stream that has begun with an error event. Absent: as long as the server allows, which no "
    "call exceeds.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 999_999_999},
    "example": 30,
}
_PAGE: list[Schema] = [
    {
        "name": "after",
        "in": "query",
        "description": "The id after which to go on: the last one of the page before.",
        "schema": {"type": "string"},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "How many at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    },
    {
        "name": "order",
        "in": "query",
        "description": "By time of creation: oldest first, or newest first.",
        "schema": {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
    },
]
_FILTERS: list[Schema] = [
    {
        "name": "model",
        "in": "query",
        "description": "Only completions of this model.",
        "schema": {"type": "string"},
    },
    {
        "name": "metadata",
        "in": "query",
        "style": "deepObject",
        "explode": True,
        "description": "Only completions whose metadata has all of these: `metadata[key]=value`.",
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    },
]


def paths() -> dict[str, dict[str, Operation]]:
    return {
        "/v1/chat/completions": {
            "post": _create(),
            "get": _operation(
                "listChatCompletions",
                "Stored completions",
                "Lists stored completions",
                "Those that the caller's key asked for with `store`.",
                _json("CompletionList", "A page of completions."),
                (*OF_LIST, *OF_STORE),
                parameters=[*_PAGE, *_FILTERS],
            ),
        },
        "/v1/chat/completions/{completion_id}": {
            "get": _operation(
                "getChatCompletion",
                "Stored completions",
                "Returns a stored completion",
                "",
                _json("ChatCompletion", "The completion."),
                OF_ONE_STORED,
                parameters=[_COMPLETION_ID],
            ),
            "post": _operation(
                "updateChatCompletion",
                "Stored completions",
                "Replaces a stored completion's metadata",
                "",
                _json("ChatCompletion", "The completion, with its new metadata."),
                (*OF_BODY, *OF_ONE_STORED),
                parameters=[_COMPLETION_ID],
                requestBody=_body("UpdateRequest"),
            ),
            "delete": _operation(
                "deleteChatCompletion",
                "Stored completions",
                "Deletes a stored completion",
                "",
                _json("DeletedCompletion", "It is gone."),
                OF_ONE_STORED,
                parameters=[_COMPLETION_ID],
            ),
        },
        "/v1/chat/completions/{completion_id}/messages": {
            "get": _operation(
                "listChatCompletionMessages",
                "Stored completions",
                "Lists the messages that a stored completion was asked with",
                "",
                _json("StoredMessageList", "A page of messages."),
                (*OF_LIST, *OF_ONE_STORED),
                parameters=[_COMPLETION_ID, *_PAGE],
            ),
        },
        "/v1/models": {
            "get": _operation(
                "listModels",
                "Models",
                "Lists the models",
                "",
                _json("ModelList", "The models that the caller may use."),
            ),
        },
        "/v1/models/{model}": {
            "get": _operation(
                "getModel",
                "Models",
                "Returns a model",
                "",
                _json("Model", "The model."),
                (e.ERROR_REASON_MODEL_NOT_FOUND,),
                parameters=[
                    {
                        "name": "model",
                        "in": "path",
                        "required": True,
                        "description": "The model's id. A slash in it may be encoded or not.",
                        "schema": {"type": "string", "minLength": 1},
                    }
                ],
            ),
        },
        "/healthz": {
            "get": _public("getHealth", "Tells whether the process lives", _json("Health", "Yes.")),
        },
        "/readyz": {
            "get": _public(
                "getReadiness",
                "Tells whether a model can answer now",
                _json("Readiness", "Yes."),
                (e.ERROR_REASON_NOT_READY,),
            ),
        },
        "/openapi.json": {
            "get": _public(
                "getOpenapi",
                "Returns this description",
                _response("An OpenAPI 3.1 document.", {"application/json": {"type": "object"}}),
            ),
        },
        "/docs": {
            "get": _public(
                "getDocs",
                "Returns this description as a page to read",
                _response("A page.", {"text/html": {"type": "string"}}),
            ),
        },
    }


def _create() -> Operation:
    operation = _operation(
        "createChatCompletion",
        "Chat",
        "Generates a completion",
        "Whole, or with `stream` while it grows. To abandon it, close the connection: the model "
        "is free within a token or two. Null means absent, and unknown keys of messages are "
        "ignored; unknown top-level keys reach engines that know them.",
        _response(
            "The completion.",
            {
                "application/json": {"$ref": "#/components/schemas/ChatCompletion"},
                "text/event-stream": _EVENT,
            },
        ),
        OF_COMPLETION,
        requestBody=_body("CompletionRequest"),
    )
    operation["responses"]["4XX"] = upstreams_refusal()
    return operation


def _operation(
    operation_id: str,
    tag: str,
    summary: str,
    description: str,
    success: Schema,
    reasons: tuple[Reason, ...] = (),
    parameters: Sequence[Schema] = (),
    **more: Any,
) -> Operation:
    # Of what it takes the header can be wrong, in every operation.
    all_reasons = dict.fromkeys((*reasons, e.ERROR_REASON_INVALID_VALUE, *ALWAYS))
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        **({"description": description} if description else {}),
        "parameters": [*parameters, _TIMEOUT],
        **more,
        "responses": {"200": success, **error_responses(all_reasons)},
    }


def _public(
    operation_id: str, summary: str, success: Schema, reasons: tuple[Reason, ...] = ()
) -> Operation:
    return {
        "operationId": operation_id,
        "tags": ["Server"],
        "summary": summary,
        "security": [],
        "responses": {"200": success, **error_responses(reasons)},
    }


def _body(name: str) -> Schema:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _json(name: str, description: str) -> Schema:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return _response(description, {"application/json": schema})


def _response(description: str, schemas: dict[str, Schema]) -> Schema:
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"description": description, "headers": REQUEST_ID, "content": content}
