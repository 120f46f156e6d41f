"""Keys that the contract has no field for: the `extra_json` of its messages.

Upstreams say more than OpenAI's API knows, and take more. Whatever it is goes through as it
came, beside what is known; null says nothing, as everywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message
from pydantic_core import from_json, to_json

from diglot.v1 import chat_pb2, chunk_pb2, completion_pb2, message_pb2, tool_pb2

Json = dict[str, Any]

# Where the JSON of a message has other keys than the contract has fields: those that are only
# fields, and those that are only keys.
_SPELT_OTHERWISE: dict[type[Message], tuple[set[str], set[str]]] = {
    chat_pb2.CreateChatCompletionRequest: (set(), {"stream"}),
    chat_pb2.JsonSchemaResponse: ({"schema_json"}, {"schema"}),
    chat_pb2.ResponseFormat: ({"text", "json_object"}, {"type"}),
    chunk_pb2.ChatCompletionChunk: ({"merged_chunks"}, {"object"}),
    chunk_pb2.ToolCallDelta: (set(), {"type"}),
    completion_pb2.ChatCompletion: (set(), {"object"}),
    message_pb2.ContentPart: (set(), {"type"}),
    message_pb2.Message: ({"parts"}, set()),
    message_pb2.ToolCall: (set(), {"index", "type"}),
    tool_pb2.CustomTool: ({"text", "grammar"}, {"format"}),
    tool_pb2.FunctionDefinition: ({"parameters_json"}, {"parameters"}),
    tool_pb2.Tool: (set(), {"type"}),
}


def known_keys(kind: type[Message]) -> frozenset[str]:
    """Keys of a message's JSON that the contract has a place for."""
    fields, keys = _SPELT_OTHERWISE.get(kind, (set(), set()))
    return frozenset({*kind.DESCRIPTOR.fields_by_name} - fields - {"extra_json"} | keys)


Extended = (
    chat_pb2.JsonSchemaResponse
    | chat_pb2.ResponseFormat
    | chat_pb2.StreamOptions
    | message_pb2.Annotation
    | message_pb2.ContentPart
    | message_pb2.FilePart
    | message_pb2.FunctionCall
    | message_pb2.ImagePart
    | message_pb2.InputAudioPart
    | message_pb2.Message
    | message_pb2.ToolCall
    | message_pb2.UrlCitation
    | tool_pb2.CustomTool
    | tool_pb2.FunctionDefinition
    | tool_pb2.Tool
)
"""What of a request can have further keys, itself aside."""


Request = chat_pb2.CreateChatCompletionRequest
_Places = Iterator[tuple[str, Extended]]


def extended(request: Request) -> _Places:
    """The parts of a request that have further keys, each with its path."""
    yield from extended_messages(request)
    yield from extended_options(request)


def extended_messages(request: Request) -> _Places:
    for place, message in enumerate(request.messages):
        if message.HasField("extra_json"):
            yield f"messages[{place}]", message
        if message.parts:  # few messages have any; it is looked for in every request
            yield from _those(_in_parts(f"messages[{place}]", message.parts))
        if message.tool_calls or message.annotations or message.HasField("function_call"):
            yield from _those(_in_answer(f"messages[{place}]", message))


def extended_options(request: Request) -> _Places:
    return _those(_in_options(request))


def _those(places: _Places) -> _Places:
    return ((path, part) for path, part in places if part.HasField("extra_json"))


def _in_parts(path: str, parts: Iterable[message_pb2.ContentPart]) -> _Places:
    for place, part in enumerate(parts):
        where = f"{path}.parts[{place}]"
        yield where, part
        match part.WhichOneof("part"):
            case "image_url":
                yield f"{where}.image_url", part.image_url
            case "input_audio":
                yield f"{where}.input_audio", part.input_audio
            case "file":
                yield f"{where}.file", part.file


def _in_answer(path: str, message: message_pb2.Message) -> _Places:
    for place, call in enumerate(message.tool_calls):
        yield f"{path}.tool_calls[{place}]", call
        if call.HasField("function"):
            yield f"{path}.tool_calls[{place}].function", call.function
    if message.HasField("function_call"):
        yield f"{path}.function_call", message.function_call
    for place, annotation in enumerate(message.annotations):
        yield f"{path}.annotations[{place}]", annotation
        if annotation.HasField("url_citation"):
            yield f"{path}.annotations[{place}].url_citation", annotation.url_citation


def _in_options(request: Request) -> _Places:
    if request.HasField("prediction"):
        yield from _in_parts("prediction", request.prediction.parts)
    for place, tool in enumerate(request.tools):
        yield f"tools[{place}]", tool
        if tool.HasField("function"):
            yield f"tools[{place}].function", tool.function
        if tool.HasField("custom"):
            yield f"tools[{place}].custom", tool.custom
    for place, function in enumerate(request.functions):
        yield f"functions[{place}]", function
    if request.HasField("response_format"):
        yield "response_format", request.response_format
        if request.response_format.HasField("json_schema"):
            yield "response_format.json_schema", request.response_format.json_schema
    if request.HasField("stream_options"):
        yield "stream_options", request.stream_options


def unknown(body: Mapping[str, Any], known: frozenset[str]) -> Json:
    """What of an upstream's object is not known, and not null."""
    if known.issuperset(body):  # nearly always
        return {}
    return {key: value for key, value in body.items() if key not in known and value is not None}


def written(extra: Json) -> str:
    return to_json(extra, inf_nan_mode="null").decode()


def read(text: str) -> Json:
    """Raises ValueError for what is no JSON object."""
    extra = from_json(text, allow_inf_nan=False)
    if not isinstance(extra, dict):
        raise ValueError("expected an object")
    return extra


def read_finite(text: str) -> Json:
    """Raises ValueError also for numbers that JSON cannot write again: 1e999 reads as infinity."""
    extra = read(text)
    json.dumps(extra, allow_nan=False)
    return extra


def add_up(whole: Json, more: Json) -> None:
    """Adds what a later chunk says, by the rule that stands at ChatCompletionChunk.extra_json."""
    for key, value in more.items():
        before = whole.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            add_up(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            before += value
        else:
            whole[key] = value


_PIECES = {"reasoning.text": "text", "reasoning.summary": "summary"}


def joined(details: list[Any]) -> list[Any]:
    """`reasoning_details` as one answer has them, of those of all its chunks.

    OpenRouter streams a thought in pieces, each an entry, and takes it back, signed as it is,
    only in one. By their index they cannot be told apart: all of them have the same.
    """
    result: list[Any] = []
    name = None  # of the text of the last entry, which may grow
    texts: list[str] = []
    for entry in details:
        known = _PIECES.get(str(entry.get("type"))) if isinstance(entry, dict) else None
        if known is None or known != name or (result[-1].get("signature") and entry.get(known)):
            if name is not None and texts:
                result[-1][name] = "".join(texts)
            name, texts = known, []
            result.append(entry if known is None else {})
        if known is not None:
            result[-1] |= {key: value for key, value in entry.items() if value is not None}
            if isinstance(entry.get(known), str):
                texts.append(entry[known])
    if name is not None and texts:
        result[-1][name] = "".join(texts)
    return result
