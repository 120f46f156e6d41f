"""From bytes to a request, or to a sentence about what is wrong and where."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diglot.facade.errors import Refusal
from diglot.facade.parse import parse
from diglot.facade.to_contract import to_contract
from diglot.v1 import error_pb2

USER = {"role": "user", "content": "hello"}


def refused(body: bytes | dict[str, Any]) -> tuple[str, str | None, str]:
    """Reason, param and message."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    with pytest.raises(Refusal) as caught:
        parse(body)
    reason = error_pb2.ErrorReason.Name(caught.value.reason).removeprefix("ERROR_REASON_")
    return reason, caught.value.param, caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"  ", id="blank"),
        pytest.param(b"hello", id="no JSON"),
        pytest.param(b'{"model":', id="cut off"),
        pytest.param(b'{"model":"m"} x', id="more behind"),
        pytest.param(b'{"model":"\xff"}', id="not UTF-8"),
        pytest.param('{"model":"é"}'.encode("latin1"), id="Latin-1"),
        pytest.param('{"model":"m"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'\xef\xbb\xbf{"model":"m"}', id="byte order mark"),
        pytest.param(b'{"model":"\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"model":"\\udc00\\ud800"}', id="surrogates in the wrong order"),
        pytest.param(b'{"model":"\xed\xa0\x80"}', id="surrogate in UTF-8"),
        pytest.param(b'{"model":"\n"}', id="raw control character"),
        pytest.param(b'{"temperature":NaN}', id="NaN"),
        pytest.param(b'{"temperature":Infinity}', id="Infinity"),
        pytest.param(b'{"n":' + b"1" * 5000 + b"}", id="5000 digits"),
        pytest.param(b"[" * 10_000, id="10,000 levels"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="10,000 objects"),
        pytest.param(b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", id="300 levels"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"x"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"1e999", id="infinite number"),
    ],
)
def test_what_is_no_json_object(body: bytes) -> None:
    reason, param, message = refused(body)
    assert (reason, param) == ("INVALID_JSON", None)
    assert message.startswith(
        ("We could not parse the JSON body of your request: ", "The JSON body of your request must")
    )


@pytest.mark.parametrize(
    ("change", "reason", "param", "message"),
    [
        ({"model": ...}, "MISSING_VALUE", "model", "Missing required parameter: 'model'."),
        ({"messages": ...}, "MISSING_VALUE", "messages", "Missing required parameter: 'messages'."),
        ({"model": None}, "INVALID_TYPE", "model", "Invalid type for 'model': expected a string, but got null instead."),
        ({"messages": None}, "INVALID_TYPE", "messages", "Invalid type for 'messages': expected an array, but got null instead."),
        ({"messages": {}}, "INVALID_TYPE", "messages", "Invalid type for 'messages': expected an array, but got an object instead."),
        ({"messages": [5]}, "INVALID_TYPE", "messages[0]", "Invalid type for 'messages[0]': expected an object, but got an integer instead."),
        ({"temperature": "0.5"}, "INVALID_TYPE", "temperature", "Invalid type for 'temperature': expected a number, but got a string instead."),
        ({"temperature": True}, "INVALID_TYPE", "temperature", "Invalid type for 'temperature': expected a number, but got a boolean instead."),
        ({"n": True}, "INVALID_TYPE", "n", "Invalid type for 'n': expected an integer, but got a boolean instead."),
        ({"n": 1.5}, "INVALID_TYPE", "n", "Invalid type for 'n': expected an integer, but got a number instead."),
        ({"n": 2**31}, "INVALID_VALUE", "n", "Invalid value for 'n': input should be less than or equal to 2147483647."),
        ({"seed": 2**63}, "INVALID_VALUE", "seed", "Invalid value for 'seed': input should be less than or equal to 9223372036854775807."),
        ({"stream": 1}, "INVALID_TYPE", "stream", "Invalid type for 'stream': expected a boolean, but got an integer instead."),
        ({"stop": 5}, "INVALID_TYPE", "stop", "Invalid type for 'stop': expected a string or an array, but got an integer instead."),
        ({"stop": ["a", 5]}, "INVALID_TYPE", "stop[1]", "Invalid type for 'stop[1]': expected a string, but got an integer instead."),
        ({"user": {}}, "INVALID_TYPE", "user", "Invalid type for 'user': expected a string, but got an object instead."),
        ({"logit_bias": {"x": 1}}, "INVALID_VALUE", "logit_bias.x", "Invalid key in 'logit_bias': 'x'. Keys are token ids: integers."),
        ({"logit_bias": {"99999999999": 1}}, "INVALID_VALUE", "logit_bias.99999999999", None),
        ({"logit_bias": {"٣": 1}}, "INVALID_VALUE", "logit_bias.٣", None),
        ({"logit_bias": {"5": "1"}}, "INVALID_TYPE", "logit_bias.5", None),
        ({"logit_bias": {"5": True}}, "INVALID_TYPE", "logit_bias.5", None),
        ({"logit_bias": [1]}, "INVALID_TYPE", "logit_bias", None),
        ({"metadata": {"a": 1}}, "INVALID_TYPE", "metadata.a", "Invalid type for 'metadata.a': expected a string, but got an integer instead."),
        ({"metadata": "a"}, "INVALID_TYPE", "metadata", None),
        ({"stream_options": {"include_usage": "yes"}}, "INVALID_TYPE", "stream_options.include_usage", None),
        ({"tool_choice": "maybe"}, "INVALID_VALUE", "tool_choice", "Invalid value: 'maybe'. Supported values are: 'none', 'auto' or 'required'."),
        ({"tool_choice": 5}, "INVALID_TYPE", "tool_choice", "Invalid type for 'tool_choice': expected a string or an object, but got an integer instead."),
        ({"tool_choice": {}}, "MISSING_VALUE", "tool_choice.type", "Missing required parameter: 'tool_choice.type'."),
        ({"tool_choice": {"type": "x"}}, "INVALID_VALUE", "tool_choice.type", "Invalid value: 'x'. Supported values are: 'function', 'custom', 'allowed_tools'."),
        ({"tool_choice": {"type": "function", "function": {}}}, "MISSING_VALUE", "tool_choice.function.name", None),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}}}, "INVALID_VALUE", "tool_choice.allowed_tools.mode", None),
        ({"function_call": {"name": 5}}, "INVALID_TYPE", "function_call.name", None),
        ({"function_call": "required"}, "INVALID_VALUE", "function_call", None),
        ({"response_format": {"type": "xml"}}, "INVALID_VALUE", "response_format.type", None),
        ({"response_format": {"type": "json_schema"}}, "MISSING_VALUE", "response_format.json_schema", None),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": []}}}, "INVALID_TYPE", "response_format.json_schema.schema", None),
        ({"tools": [{"type": "function"}]}, "MISSING_VALUE", "tools[0].function", "Missing required parameter: 'tools[0].function'."),
        ({"tools": [{"type": "function", "function": 5}]}, "INVALID_TYPE", "tools[0].function", None),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "{}"}}]}, "INVALID_TYPE", "tools[0].function.parameters", None),
        ({"tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "grammar"}}}]}, "MISSING_VALUE", "tools[0].custom.format.grammar", None),
        ({"tools": [{"function": {"name": "f"}}]}, "MISSING_VALUE", "tools[0].type", None),
        ({"audio": {"format": "wav", "voice": {}}}, "MISSING_VALUE", "audio.voice.id", None),
        ({"prediction": {"type": "content", "content": [{"type": "text"}]}}, "MISSING_VALUE", "prediction.content[0].text", None),
        ({"prediction": {"type": "else", "content": ""}}, "INVALID_VALUE", "prediction.type", None),
        ({"web_search_options": {"user_location": {"type": "approximate"}}}, "MISSING_VALUE", "web_search_options.user_location.approximate", None),
        ({"moderation": {}}, "MISSING_VALUE", "moderation.model", None),
    ],
)  # fmt: skip
def test_wrong_fields(change: dict[str, Any], reason: str, param: str, message: str | None) -> None:
    body = {"model": "m", "messages": [USER], **change}
    body = {key: value for key, value in body.items() if value is not ...}
    found = refused(body)
    assert found[:2] == (reason, param)
    if message is not None:
        assert found[2] == message


@pytest.mark.parametrize(
    ("wrong", "reason", "param"),
    [
        ({}, "MISSING_VALUE", "messages[2].role"),
        ({"role": "robot", "content": ""}, "INVALID_VALUE", "messages[2].role"),
        ({"role": 5, "content": ""}, "INVALID_TYPE", "messages[2].role"),
        ({"role": None, "content": ""}, "INVALID_TYPE", "messages[2].role"),
        ({"role": {"a": 1}, "content": ""}, "INVALID_TYPE", "messages[2].role"),
        ({"role": "user"}, "MISSING_VALUE", "messages[2].content"),
        ({"role": "user", "content": None}, "INVALID_TYPE", "messages[2].content"),
        ({"role": "user", "content": 5}, "INVALID_TYPE", "messages[2].content"),
        ({"role": "user", "content": {"type": "text", "text": ""}}, "INVALID_TYPE", "messages[2].content"),
        ({"role": "user", "content": ["text"]}, "INVALID_TYPE", "messages[2].content[0]"),
        ({"role": "user", "content": [{"text": "x"}]}, "MISSING_VALUE", "messages[2].content[0].type"),
        ({"role": "user", "content": [{"type": 5, "text": "x"}]}, "INVALID_TYPE", "messages[2].content[0].type"),
        ({"role": "user", "content": [{"type": ["text"], "text": "x"}]}, "INVALID_TYPE", "messages[2].content[0].type"),
        ({"role": "user", "content": [{}]}, "MISSING_VALUE", "messages[2].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "MISSING_VALUE", "messages[2].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "INVALID_TYPE", "messages[2].content[0].text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}, "INVALID_TYPE", "messages[2].content[0].image_url.url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "http://x"}]}, "INVALID_TYPE", "messages[2].content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]}, "MISSING_VALUE", "messages[2].content[0].input_audio.format"),
        ({"role": "user", "content": [{"type": "text", "text": ""}, {"type": "file"}]}, "MISSING_VALUE", "messages[2].content[1].file"),
        ({"role": "user", "content": [{"type": "text", "text": "", "prompt_cache_breakpoint": {}}]}, "MISSING_VALUE", "messages[2].content[0].prompt_cache_breakpoint.mode"),
        ({"role": "tool", "content": ""}, "MISSING_VALUE", "messages[2].tool_call_id"),
        ({"role": "function", "content": ""}, "MISSING_VALUE", "messages[2].name"),
        ({"role": "function", "name": "f"}, "MISSING_VALUE", "messages[2].content"),
        ({"role": "assistant", "tool_calls": {}}, "INVALID_TYPE", "messages[2].tool_calls"),
        ({"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}]}, "MISSING_VALUE", "messages[2].tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": ""}}]}, "MISSING_VALUE", "messages[2].tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}]}, "INVALID_TYPE", "messages[2].tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ""}}]}, "MISSING_VALUE", "messages[2].tool_calls[0].type"),
        ({"role": "assistant", "reasoning_content": 5}, "INVALID_TYPE", "messages[2].reasoning_content"),
    ],
)  # fmt: skip
def test_wrong_messages(wrong: dict[str, Any], reason: str, param: str) -> None:
    found = refused({"model": "m", "messages": [USER, USER, wrong]})
    assert found[:2] == (reason, param)
    assert f"'{param}'" in found[2] or reason == "INVALID_VALUE"


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" + b"0" * 400])
def test_a_number_too_large_for_a_double(number: bytes) -> None:
    body = b'{"model":"m","messages":[],"temperature":' + number + b"}"
    assert refused(body)[1] == "temperature"
    assert refused(b'{"model":"m","messages":[],"logit_bias":{"5":' + number + b"}}")[1]


def test_an_infinite_number_inside_of_a_schema() -> None:
    body = b'{"model":"m","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"a":1e999}}}}'
    with pytest.raises(Refusal) as caught:
        to_contract(parse(body))
    assert caught.value.param == "response_format.json_schema.schema"
    with pytest.raises(Refusal):
        to_contract(parse(b'{"model":"m","messages":[],"min_p":1e999}'))


def test_empty_messages_are_the_cores_to_refuse() -> None:
    assert parse(b'{"model":"m","messages":[]}').messages == []


def test_of_a_key_given_twice_the_last_counts() -> None:
    asked = parse(b'{"model":"a","messages":[],"n":1,"n":2,"model":"b"}')
    assert (asked.model, asked.n) == ("b", 2)


def test_a_million_faults_cost_one() -> None:
    body = b'{"model":"m","messages":[' + b"{}," * 1_000_000 + b"{}]}"
    assert refused(body)[1] == "messages[0].role"
    parts = b'{"model":"m","messages":[{"role":"user","content":[' + b"1," * 1_000_000 + b"1]}]}"
    assert refused(parts)[1] == "messages[0].content[0]"


def test_says_nothing_of_long_values() -> None:
    _, _, message = refused({"model": "m", "messages": [{"role": "x" * 10_000, "content": ""}]})
    assert len(message) < 250


@given(st.binary())
@settings(deadline=None)
def test_any_bytes_are_refused_or_parsed(body: bytes) -> None:
    with pytest.raises(Refusal):
        parse(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["user", "assistant", "tool", "text", "image_url", "function", "auto"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "name", "function", "arguments", "id",
                         "url", "image_url", "tool_calls", "parameters", "mode"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(
            ["audio", "function_call", "functions", "logit_bias", "metadata", "moderation",
             "prediction", "response_format", "seed", "stop", "stream_options", "temperature",
             "tool_choice", "tools", "web_search_options", "min_p"]
        ),
        _JSON,
    ),
    _JSON,
    st.booleans(),
)  # fmt: skip
@settings(deadline=None)
def test_any_json_is_refused_or_translated(fields: Any, messages: Any, listed: bool) -> None:
    body = {"model": "m", "messages": [messages] if listed else messages, **fields}
    with suppress(Refusal):
        to_contract(parse(json.dumps(body).encode()))
