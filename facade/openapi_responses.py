"""The schemas of what the façade answers with.

By hand, as to_json and chunk_to_json are, which write it. The tests hold them against
answers on the wire, where no key may come that is not described here.
"""

from __future__ import annotations

from .openapi_fields import Schema, description

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_BOOLEAN: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_SECONDS: Schema = {"type": "integer", "format": "int64"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_STRING_OR_NULL: Schema = {"type": ["string", "null"]}
_FINISH_REASONS = ["stop", "length", "tool_calls", "content_filter", "function_call"]
_ROLES = ["developer", "system", "user", "assistant", "tool", "function"]
_METADATA: Schema = {"type": "object", "additionalProperties": _STRING}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(name: str) -> Schema:
    return {"anyOf": [_ref(name), {"type": "null"}]}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _map(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def _tag(value: str) -> Schema:
    return {"type": "string", "const": value}


_TOOL_CALL: Schema = {"oneOf": [_ref("FunctionToolCall"), _ref("CustomToolCall")]}
_PARTS: list[Schema] = [
    _ref(f"{kind}Part") for kind in ("Text", "Image", "InputAudio", "File", "Refusal", "Other")
]
_PAGE: dict[str, Schema] = {
    "object": _tag("list"),
    "first_id": _STRING_OR_NULL,
    "last_id": _STRING_OR_NULL,
    "has_more": _BOOLEAN,
}

# Each object: what is always there, and what may be.
_OBJECTS: dict[str, tuple[dict[str, Schema], dict[str, Schema]]] = {
    "ChatCompletion": (
        {
            "id": _STRING,
            "object": _tag("chat.completion"),
            "created": _SECONDS,
            "model": _STRING,
            "choices": _list(_ref("Choice")),
            "system_fingerprint": _STRING_OR_NULL,
        },
        {
            "usage": _ref("Usage"),
            "service_tier": _STRING,
            "metadata": _METADATA,
            "moderation": _ref("Moderation"),
        },
    ),
    "Choice": (
        {
            "index": _COUNT,
            "message": _ref("AnswerMessage"),
            "logprobs": _or_null("ChoiceLogprobs"),
            "finish_reason": {"type": "string", "enum": _FINISH_REASONS},
        },
        {},
    ),
    "AnswerMessage": (
        {
            "role": _tag("assistant"),
            "content": _STRING_OR_NULL,
            "refusal": _STRING_OR_NULL,
            "annotations": _list(_ref("Annotation")),
        },
        {
            "reasoning_content": _STRING,
            "tool_calls": {**_list(_TOOL_CALL), "minItems": 1},
            "function_call": _ref("FunctionCall"),
            "audio": _ref("Audio"),
        },
    ),
    "Annotation": ({"type": _tag("url_citation"), "url_citation": _ref("UrlCitation")}, {}),
    "UrlCitation": (
        {"start_index": _COUNT, "end_index": _COUNT, "url": _STRING, "title": _STRING},
        {},
    ),
    "Audio": (
        {"id": _STRING, "data": _STRING, "expires_at": _SECONDS, "transcript": _STRING},
        {},
    ),
    "ChoiceLogprobs": (
        {
            "content": {"type": ["array", "null"], "items": _ref("TokenLogprob")},
            "refusal": {"type": ["array", "null"], "items": _ref("TokenLogprob")},
        },
        {},
    ),
    "TokenLogprob": (
        {
            "token": _STRING,
            "logprob": _NUMBER,
            "bytes": {"type": ["array", "null"], "items": _COUNT},
            "top_logprobs": _list(_ref("TopLogprob")),
        },
        {},
    ),
    "TopLogprob": (
        {
            "token": _STRING,
            "logprob": _NUMBER,
            "bytes": {"type": ["array", "null"], "items": _COUNT},
        },
        {},
    ),
    "Usage": (
        {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
        {
            "prompt_tokens_details": _ref("PromptTokensDetails"),
            "completion_tokens_details": _ref("CompletionTokensDetails"),
        },
    ),
    "PromptTokensDetails": (
        {},
        {
            "cached_tokens": _COUNT,
            "audio_tokens": _COUNT,
            "cache_write_tokens": _COUNT,
            "text_tokens": _COUNT,
            "image_tokens": _COUNT,
        },
    ),
    "CompletionTokensDetails": (
        {},
        {
            "reasoning_tokens": _COUNT,
            "audio_tokens": _COUNT,
            "accepted_prediction_tokens": _COUNT,
            "rejected_prediction_tokens": _COUNT,
            "text_tokens": _COUNT,
        },
    ),
    "Moderation": (
        {"input": _or_null("ModerationOutcome"), "output": _or_null("ModerationOutcome")},
        {},
    ),
    "ModerationResults": (
        {
            "type": _tag("moderation_results"),
            "model": _STRING,
            "results": _list(_ref("ModerationResult")),
        },
        {},
    ),
    "ModerationResult": (
        {
            "type": _tag("moderation_result"),
            "model": _STRING,
            "flagged": _BOOLEAN,
            "categories": _map(_BOOLEAN),
            "category_scores": _map(_NUMBER),
            "category_applied_input_types": _map(_list(_STRING)),
        },
        {},
    ),
    "ModerationError": ({"type": _tag("error"), "code": _STRING, "message": _STRING}, {}),
    "ChatCompletionChunk": (
        {
            "id": _STRING,
            "object": _tag("chat.completion.chunk"),
            "created": _SECONDS,
            "model": _STRING,
            "choices": _list(_ref("ChunkChoice")),
        },
        {
            "usage": _or_null("Usage"),
            "service_tier": _STRING,
            "system_fingerprint": _STRING,
            "moderation": _ref("Moderation"),
            "obfuscation": _STRING,
        },
    ),
    "ChunkChoice": (
        {
            "index": _COUNT,
            "delta": _ref("Delta"),
            "logprobs": _or_null("ChoiceLogprobs"),
            "finish_reason": {"type": ["string", "null"], "enum": [*_FINISH_REASONS, None]},
        },
        {},
    ),
    "Delta": (
        {},
        {
            "role": _tag("assistant"),
            "content": _STRING_OR_NULL,
            "reasoning_content": _STRING,
            "refusal": _STRING_OR_NULL,
            "tool_calls": {**_list(_ref("ToolCallDelta")), "minItems": 1},
            "function_call": _ref("FunctionCallDelta"),
            "audio": _ref("AudioDelta"),
            "annotations": _list(_ref("Annotation")),
        },
    ),
    "ToolCallDelta": (
        {"index": _COUNT},
        {
            "id": _STRING,
            "type": {"type": "string", "enum": ["function", "custom"]},
            "function": _ref("FunctionCallDelta"),
            "custom": _ref("CustomCallDelta"),
        },
    ),
    "FunctionCallDelta": ({}, {"name": _STRING, "arguments": _STRING}),
    "CustomCallDelta": ({}, {"name": _STRING, "input": _STRING}),
    "AudioDelta": (
        {},
        {"id": _STRING, "data": _STRING, "transcript": _STRING, "expires_at": _SECONDS},
    ),
    "CompletionList": ({**_PAGE, "data": _list(_ref("ChatCompletion"))}, {}),
    "DeletedCompletion": (
        {
            "id": _STRING,
            "object": _tag("chat.completion.deleted"),
            "deleted": {"type": "boolean", "const": True},
        },
        {},
    ),
    "StoredMessageList": ({**_PAGE, "data": _list(_ref("StoredMessage"))}, {}),
    "StoredMessage": (
        {
            "id": _STRING,
            "role": {"type": "string", "enum": _ROLES},
            "name": _STRING_OR_NULL,
            "content": _STRING_OR_NULL,
            "content_parts": {"type": ["array", "null"], "items": {"oneOf": _PARTS}},
            "refusal": _STRING_OR_NULL,
            "annotations": _list(_ref("Annotation")),
        },
        {
            "reasoning_content": _STRING,
            "tool_calls": {**_list(_TOOL_CALL), "minItems": 1},
            "tool_call_id": _STRING,
            "function_call": _ref("FunctionCall"),
            "audio": _ref("AudioReference"),
        },
    ),
    "ModelList": ({"object": _tag("list"), "data": _list(_ref("Model"))}, {}),
    "Model": (
        {"id": _STRING, "object": _tag("model"), "created": _SECONDS, "owned_by": _STRING},
        {},
    ),
    "ErrorResponse": ({"error": _ref("Error")}, {}),
    "Error": (
        {
            "message": _STRING,
            "type": _STRING,
            "param": _STRING_OR_NULL,
            "code": _STRING_OR_NULL,
        },
        {},
    ),
    "Health": ({"status": _tag("ok")}, {}),
    "Readiness": ({"status": _tag("ready")}, {}),
}


def response_schemas() -> dict[str, Schema]:
    """By name. Tool calls are the request's, which it holds as well."""
    found = {name: _object(name, *fields) for name, fields in _OBJECTS.items()}
    found["ModerationOutcome"] = {"oneOf": [_ref("ModerationResults"), _ref("ModerationError")]}
    return dict(sorted(found.items()))


def _object(name: str, always: dict[str, Schema], maybe: dict[str, Schema]) -> Schema:
    properties = {
        field: {**schema, "description": text}
        if (text := description(name, field)) is not None
        else schema
        for field, schema in {**always, **maybe}.items()
    }
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": sorted(always)} if always else schema
