"""What cannot be asked of the Messages API, and the names by which it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.ways import to_request
from messages_requests import HI, F, Json, answer_in, translated, user

from diglot.service import errors
from diglot.service.anthropic.unsupported import TABLE


def call(**function: Any) -> Json:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", **function}}]
    return {"messages": [HI, {"role": "assistant", "tool_calls": calls}]}


CUSTOM: Json = {"type": "custom", "custom": {"name": "f", "format": {"type": "text"}}}
CUSTOM_CALL: Json = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}
PART = "messages[0].parts[0]"
ARGUMENTS = "messages[1].tool_calls[0].function.arguments"


REFUSED: list[tuple[Json, type[errors.InvalidRequest], str]] = [
    ({"temperature": 1.01}, errors.UnsupportedValue, "temperature"),
    ({"n": 2}, errors.UnsupportedValue, "n"),
    ({"frequency_penalty": 0.1}, errors.UnsupportedParameter, "frequency_penalty"),
    ({"presence_penalty": -1}, errors.UnsupportedParameter, "presence_penalty"),
    ({"logit_bias": {"1": 1}}, errors.UnsupportedParameter, "logit_bias"),
    ({"seed": 0}, errors.UnsupportedParameter, "seed"),
    ({"logprobs": True}, errors.UnsupportedParameter, "logprobs"),
    ({"functions": [{"name": "f"}]}, errors.UnsupportedParameter, "functions"),
    ({"tools": [F, CUSTOM]}, errors.UnsupportedValue, "tools[1].custom"),
    (
        {"messages": [HI, {"role": "assistant", "tool_calls": [CUSTOM_CALL]}]},
        errors.UnsupportedValue,
        "messages[1].tool_calls[0].custom",
    ),
    (
        {"messages": [HI, {"role": "function", "name": "f", "content": "1"}]},
        errors.UnsupportedValue,
        "messages[1].role",
    ),
    (
        {
            "messages": [
                HI,
                {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            ]
        },
        errors.UnsupportedValue,
        "messages[1].function_call",
    ),
    (
        {"messages": [HI, {"role": "assistant", "audio": {"id": "a"}}]},
        errors.UnsupportedValue,
        "messages[1].audio",
    ),
    ({"response_format": {"type": "json_object"}}, errors.UnsupportedValue, "response_format"),
    (answer_in(), errors.UnsupportedValue, "response_format.json_schema"),
    ({"reasoning_effort": "wild"}, errors.UnsupportedValue, "reasoning_effort"),
    ({"service_tier": "flex"}, errors.UnsupportedValue, "service_tier"),
    ({"messages": [{"role": "system", "content": "S"}]}, errors.UnsupportedValue, "messages"),
    ({"messages": [{"role": "user", "content": ""}]}, errors.UnsupportedValue, "messages"),
    (call(arguments="{"), errors.InvalidValue, ARGUMENTS),
    (call(arguments="[1]"), errors.InvalidValue, ARGUMENTS),
    (call(arguments='{"x": NaN}'), errors.InvalidValue, ARGUMENTS),
    (call(arguments='{"x": ' + "[" * 100_000), errors.InvalidValue, ARGUMENTS),
    (
        user({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AAAA"}}),
        errors.UnsupportedValue,
        f"{PART}.image_url.url",
    ),
    (
        user({"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}}),
        errors.InvalidValue,
        f"{PART}.image_url.url",
    ),
    (
        user({"type": "file", "file": {"file_id": "file-1"}}),
        errors.UnsupportedValue,
        f"{PART}.file.file_id",
    ),
    (
        user({"type": "file", "file": {"file_data": "AAAA"}}),
        errors.UnsupportedValue,
        f"{PART}.file.file_data",
    ),
    (
        user({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}),
        errors.InvalidValue,
        f"{PART}.file.file_data",
    ),
    (
        user({"type": "video_url", "video_url": {"url": "https://x"}}),
        errors.UnsupportedValue,
        PART,
    ),
    (
        user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        errors.UnsupportedValue,
        PART,
    ),
    (
        user(
            {
                "type": "text",
                "text": "a",
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
            }
        ),
        errors.UnsupportedValue,
        f"{PART}.prompt_cache_breakpoint.ttl",
    ),
    (
        {"messages": [{"role": "system", "content": "S"}, HI], "system": "T"},
        errors.InvalidValue,
        "extra_json.system",
    ),
    (
        {"reasoning_effort": "low", "thinking": {"type": "disabled"}},
        errors.InvalidValue,
        "extra_json.thinking",
    ),
    (
        user(
            {
                "type": "text",
                "text": "a",
                "prompt_cache_breakpoint": {"mode": "explicit"},
                "cache_control": {},
            }
        ),
        errors.InvalidValue,
        f"{PART}.extra_json.cache_control",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "input_schema": {}}}]},
        errors.InvalidValue,
        "tools[0].function.extra_json.input_schema",
    ),
]


@pytest.mark.parametrize(("body", "kind", "field"), REFUSED)
def test_what_cannot_be_asked_there(
    body: Json, kind: type[errors.InvalidRequest], field: str
) -> None:
    """Is refused by name, before any work: nothing that matters is dropped in silence."""
    with pytest.raises(errors.ChatError) as refused:
        translated(body)
    assert (type(refused.value), refused.value.field) == (kind, field)


def test_every_row_of_the_table_is_at_work() -> None:
    requests = [to_request({"model": "m", "messages": [HI]} | body) for body, _, _ in REFUSED]
    for rule in TABLE:
        assert any(list(rule.check(request)) for request in requests), rule.field
