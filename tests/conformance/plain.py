"""Answers in one form, whichever way they came: OpenAI's names, and nothing that is absent.

Written without a look at the façade's own mapping, which this is to check: the contract's
messages are read by reflection. Null, an empty list and a missing key are one thing here;
test_openai_shape.py is where they differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pydantic import BaseModel

Json = dict[str, Any]

# JSON tells kinds of objects apart by these; the contract by what is set.
_TAGS = {
    "object": {"chat.completion", "chat.completion.chunk"},
    "type": {
        *("function", "custom", "url_citation"),
        *("moderation_results", "moderation_result", "error"),
    },
}
# Different in every answer.
IDENTITY = ("id", "created", "obfuscation", "merged_chunks")


def from_sdk(answer: BaseModel) -> Json:
    """A completion or a chunk, from OpenAI's SDK."""
    plain = _bare(answer.model_dump(exclude_unset=True))
    assert isinstance(plain, dict)
    return plain


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _bare(item)
            for key, item in value.items()
            if item is not None and item != [] and not _is_tag(key, item)
        }
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value


def _is_tag(key: str, value: Any) -> bool:
    return isinstance(value, str) and value in _TAGS.get(key, ())


def from_contract(message: Message) -> Json:
    """A completion or a chunk, from the contract."""
    plain = {field.name: _value(field, value) for field, value in _set(message)}
    extra = json.loads(plain.pop("extra_json", "{}"))
    assert not extra.keys() & plain.keys()
    plain |= _bare(extra)
    return plain


def _set(message: Message) -> Iterator[tuple[Any, Any]]:
    """What the message says: a number without presence also when it is 0."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            told = len(value) > 0
        else:
            told = not field.has_presence or message.HasField(field.name)
        if told:
            yield field, value


def _value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if field.is_repeated:
        return [_item(field, item) for item in value]
    return _item(field, value)


def _item(field: FieldDescriptor, value: Any) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_MESSAGE:
            return from_contract(value)
        case FieldDescriptor.TYPE_ENUM:
            assert field.enum_type is not None
            values = field.enum_type.values_by_number
            prefix = values[0].name.removesuffix("UNSPECIFIED")
            return values[value].name.removeprefix(prefix).lower()
        case FieldDescriptor.TYPE_BYTES:
            return list(value)
    return value


def without_identity(answer: Json) -> Json:
    return {key: value for key, value in answer.items() if key not in IDENTITY}


def fold(chunks: Iterable[Json]) -> Json:
    """The completion that a stream spells out, by the rule that OpenAI's clients follow."""
    whole: Json = {}
    choices: dict[int, Json] = {}
    for chunk in chunks:
        rest = {key: value for key, value in chunk.items() if key not in ("choices", *IDENTITY)}
        _merge(whole, rest)
        for choice in chunk.get("choices", ()):
            grown = choices.setdefault(choice["index"], {"index": choice["index"], "message": {}})
            _merge(grown["message"], choice["delta"])
            assert "finish_reason" not in choice.keys() & grown.keys(), "a choice ends once"
            _merge(grown, {key: choice[key] for key in choice if key not in ("index", "delta")})
    whole["choices"] = [choices[index] for index in sorted(choices)]
    for choice in whole["choices"]:
        message = choice["message"]
        for call in message.get("tool_calls", ()):
            del call["index"]
        if "reasoning_details" in message:
            message["reasoning_details"] = rejoined(message["reasoning_details"])
    return whole


def rejoined(details: list[Json]) -> list[Json]:
    """OpenRouter's pieces of thoughts, as its answers have them that are no streams."""
    whole: list[Json] = []
    for detail in details:
        piece = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(detail["type"])
        if piece and whole and whole[-1]["type"] == detail["type"]:
            text = whole[-1].get(piece, "") + detail.get(piece, "")
            whole[-1] = {**whole[-1], **detail, piece: text}
        else:
            whole.append(detail)
    return whole


_GROWS = {
    *("content", "refusal", "reasoning_content", "arguments", "input", "data", "transcript"),
}


def _merge(into: Json, delta: Json) -> None:
    for key, value in delta.items():
        if key in _GROWS and isinstance(value, str):
            into[key] = into.get(key, "") + value
        elif key == "usage":
            into[key] = value
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        elif key == "tool_calls":
            calls = into.setdefault(key, [])
            for piece in value:
                if piece["index"] == len(calls):
                    calls.append({"index": piece["index"]})
                rest = {name: item for name, item in piece.items() if name != "index"}
                _merge(calls[piece["index"]], rest)
        elif isinstance(value, list):
            into[key] = into.get(key, []) + value
        else:
            into[key] = value
