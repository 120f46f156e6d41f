"""Keys that the contract has no field for, to and from its messages' `extra_json`.

They stand in JSON beside the known ones, and are never told apart by who reads it. A null among
them says nothing below a request's top level, and goes no further.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from pydantic_core import from_json

from diglot.v1 import chat_pb2, chunk_pb2, error_pb2, message_pb2, tool_pb2

from .errors import Refusal
from .request_message import JsonObject

Json = dict[str, Any]
_M = TypeVar("_M", bound=Message)

_refuse_infinite = json.JSONEncoder(allow_nan=False).encode
# Fields whose names are no keys in JSON, which may use them for something else.
_NO_KEYS: dict[type[Message], set[str]] = {
    chat_pb2.ResponseFormat: {"text", "json_object"},
    chunk_pb2.ChatCompletionChunk: {"merged_chunks"},
    message_pb2.Message: {"parts"},
    tool_pb2.CustomTool: {"text", "grammar"},
    tool_pb2.FunctionDefinition: {"parameters_json"},
}
# What clients and their libraries add to an answer when they send it back.
_REPLAYED: dict[type[Message], set[str]] = {
    message_pb2.FunctionCall: {"parsed_arguments"},
    message_pb2.Message: {"parsed", "reasoning"},
    message_pb2.ToolCall: {"index"},
}


def json_text(value: Json, param: str | None) -> str:
    """JSON text with the order of keys and the digits of numbers that came in. Without `param` its
    keys are the request's own."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # 1e999 reads as infinity
        param = param or next(key for key in value if not _finite(value[key]))[:64]
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_VALUE,
            f"Invalid value for '{param}': a number in it is too large.",
            param,
        ) from None


def _finite(value: object) -> bool:
    try:
        _refuse_infinite(value)
    except ValueError:
        return False
    return True


def with_extra(message: _M, body: JsonObject, param: str) -> _M:
    """The message with those of a body's keys that it has no field for."""
    if unknown := body.__pydantic_extra__:
        skipped = _known(message) | _REPLAYED.get(type(message), set())
        extra = {
            key: value for key, value in unknown.items() if key not in skipped and value is not None
        }
        if extra:
            cast(Any, message).extra_json = json_text(extra, param)
    return message


def beside(result: Json, message: Message) -> Json:
    """What is known of a message with what is not. Raises ValueError if that is no object, or has
    a number in it that JSON cannot write."""
    if text := cast(Any, message).extra_json:
        extra = from_json(text, allow_inf_nan=False)
        if not isinstance(extra, dict):
            raise ValueError("an extra_json is not an object")
        _refuse_infinite(extra)  # 1e999 reads as infinity
        known = _known(message)
        for key, value in extra.items():
            if key not in known:
                result.setdefault(key, value)
    return result


def _known(message: Message) -> set[str]:
    unnamed = _NO_KEYS.get(type(message), set())
    return {*message.DESCRIPTOR.fields_by_name} - {"extra_json"} - unnamed
