"""Requests in which every field is set come out as they went in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from any_request import Json, read
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from diglot.service.upstream.request_json import to_json
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

MARK = {"mode": "explicit", "ttl": "30m"}
BIG = {"z": 2**53 + 1, "a": 1.0}
X = {"x-engine": BIG, "extra_json": [None]}  # what no field is for
FILE = {"file_data": "d", "file_id": "i", "filename": "n", **X}
FUNCTION = {"name": "f", "description": "d", "parameters": BIG, "strict": True, **X}
CALL = {"name": "f", "arguments": "{ }", **X}
# Every member of every object; what excludes one another stands in several.
EVERYTHING: list[Json] = [
    {
        "x-engine": BIG,
        "model": "m",
        "messages": [
            {"role": "developer", "content": "", "name": "n", "parts": [1], **X},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t", "prompt_cache_breakpoint": MARK, **X},
                    {"type": "image_url", "image_url": {"url": "u", "detail": "low", **X}},
                    {"type": "input_audio", "input_audio": {"data": "d", "format": "wav", **X}},
                    {"type": "file", "file": FILE},
                    {"type": "video_url", "video_url": {"url": "u", "fps": None}, "text": BIG, **X},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "refusal", "refusal": "no"}],
                "refusal": "no",
                "audio": {"id": "a"},
                "tool_calls": [
                    {"id": "1", "type": "function", "function": CALL, **X},
                    {"id": "2", "type": "custom", "custom": {"name": "c", "input": "x"}, **X},
                ],
                "annotations": [{"type": "file", "file": BIG}],
                "function_call": CALL,
                "reasoning_content": "hm",
            },
            {"role": "tool", "content": "r", "tool_call_id": "1"},
        ],
        **dict.fromkeys(("temperature", "frequency_penalty", "presence_penalty"), 1.5),
        **dict.fromkeys(("max_tokens", "max_completion_tokens", "n", "top_logprobs"), 7),
        **dict.fromkeys(("logprobs", "parallel_tool_calls", "store"), True),
        **dict.fromkeys(("reasoning_effort", "verbosity", "safety_identifier", "user"), "s"),
        **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention", "service_tier"), "s"),
        "top_p": 0.5,
        "seed": -(2**63),
        "logit_bias": {"5": 1.5},
        "stop": ["a", "b"],
        "stream_options": {"include_usage": False, "include_obfuscation": True, **X},
        "tools": [
            {"type": "function", "function": FUNCTION, **X},
            {"type": "custom", "custom": {"name": "c", "description": "d", "text": "t", **X}, **X},
            {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}},
            {
                "type": "custom",
                "custom": {
                    "name": "c",
                    "format": {"type": "grammar", "grammar": {"syntax": "s", "definition": "d"}},
                },
            },
        ],
        "tool_choice": "required",
        "functions": [FUNCTION],
        "function_call": {"name": "f"},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "description": "d", "schema": BIG, "strict": False, **X},
            **X,
        },
        "modalities": ["text", "audio"],
        "audio": {"format": "wav", "voice": "alloy"},
        "prediction": {"type": "content", "content": [{"type": "text", "text": "t"}]},
        "web_search_options": {
            "search_context_size": "low",
            "user_location": {
                "type": "approximate",
                "approximate": {"country": "c", "region": "r", "city": "c", "timezone": "t"},
            },
        },
        "moderation": {
            "model": "m",
            "policy": {"input": {"mode": "score"}, "output": {"mode": "block"}},
        },
        "metadata": {"k": "v"},
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
    },
    {
        "model": "m",
        "messages": [],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "function_call": "none",
        "response_format": {"type": "text"},
        "audio": {"format": "wav", "voice": {"id": "v"}},
        "prediction": {"type": "content", "content": "t"},
    },
    {
        "model": "m",
        "messages": [],
        "tool_choice": {"type": "custom", "custom": {"name": "c"}},
        "response_format": {"type": "json_object", "schema": BIG, "text": 1},
    },
    {
        "model": "m",
        "messages": [],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
        },
    },
]
# What a message has only in answers, where it came from a model.
ONLY_IN_ANSWERS = {
    *("diglot.v1.Audio.data", "diglot.v1.Audio.expires_at", "diglot.v1.Audio.transcript"),
    "diglot.v1.Annotation.url_citation",
}


@pytest.mark.parametrize("body", EVERYTHING, ids=lambda body: str(body.get("tool_choice")))
def test_everything_comes_out_as_it_went_in(body: Json) -> None:
    written = to_json(read(body))
    assert written == body
    for key in ("tools", "functions", "response_format", "tool_choice", "x-engine"):
        assert json.dumps(written.get(key)) == json.dumps(body.get(key))


def test_everything_is_everything() -> None:
    """A new field of the contract is not done before it stands above."""
    filled: set[str] = set()
    for body in EVERYTHING:
        filled |= set(fields_set(read(body)))
    known = set(fields_known(CreateChatCompletionRequest.DESCRIPTOR, set()))
    assert filled == known


def fields_set(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        yield field.full_name
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for inner in value if field.is_repeated else [value]:
            yield from fields_set(inner)


def fields_known(kind: Descriptor, seen: set[str]) -> Iterator[str]:
    seen.add(kind.full_name)
    for field in kind.fields:
        if field.full_name in ONLY_IN_ANSWERS:
            continue
        yield field.full_name
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry and inner.full_name not in seen:
            yield from fields_known(inner, seen)
