"""From the request as JSON has it to the contract's."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import text_format

from diglot.facade.errors import Refusal
from diglot.facade.parse import parse
from diglot.facade.request import CompletionRequest
from diglot.facade.to_contract import to_contract
from diglot.v1 import chat_pb2


def contract(**fields: Any) -> chat_pb2.CreateChatCompletionRequest:
    body = {"model": "m", "messages": [], **fields}
    return to_contract(parse(json.dumps(body, ensure_ascii=False).encode()))


def expected(text: str) -> chat_pb2.CreateChatCompletionRequest:
    return text_format.Parse('model: "m"\n' + text, chat_pb2.CreateChatCompletionRequest())


FIELDS: list[tuple[str, Any, str]] = [
    ("audio", {"format": "wav", "voice": "alloy"}, 'audio { format: "wav" voice_name: "alloy" }'),
    ("audio", {"format": "wav", "voice": {"id": "v"}}, 'audio { format: "wav" voice_id: "v" }'),
    ("frequency_penalty", -0.5, "frequency_penalty: -0.5"),
    ("function_call", "none", "function_call { mode: TOOL_CHOICE_MODE_NONE }"),
    ("function_call", {"name": "f"}, 'function_call { name: "f" }'),
    ("functions", [{"name": "f", "description": "d", "parameters": {}}],
     'functions { name: "f" description: "d" parameters_json: "{}" }'),
    ("logit_bias", {"5": -100, "-7": 1.5}, "logit_bias { key: 5 value: -100 } logit_bias { key: -7 value: 1.5 }"),
    ("logprobs", False, "logprobs: false"),
    ("max_completion_tokens", 0, "max_completion_tokens: 0"),
    ("max_tokens", 7, "max_tokens: 7"),
    ("metadata", {"a": "b"}, 'metadata { key: "a" value: "b" }'),
    ("modalities", ["text", "audio"], 'modalities: ["text", "audio"]'),
    ("moderation", {"model": "x"}, 'moderation { model: "x" }'),
    ("moderation", {"model": "x", "policy": {"input": {"mode": "block"}, "output": None}},
     'moderation { model: "x" policy { input { mode: "block" } } }'),
    ("n", 128, "n: 128"),
    ("parallel_tool_calls", False, "parallel_tool_calls: false"),
    ("prediction", {"type": "content", "content": ""}, 'prediction { content: "" }'),
    ("prediction", {"type": "content", "content": [{"type": "text", "text": "x"}]},
     'prediction { parts { text { text: "x" } } }'),
    ("presence_penalty", 2, "presence_penalty: 2"),
    ("prompt_cache_key", "k", 'prompt_cache_key: "k"'),
    ("prompt_cache_options", {"mode": "explicit", "ttl": "30m"}, 'prompt_cache_options { mode: "explicit" ttl: "30m" }'),
    ("prompt_cache_retention", "24h", 'prompt_cache_retention: "24h"'),
    ("reasoning_effort", "xhigh", 'reasoning_effort: "xhigh"'),
    ("response_format", {"type": "text"}, "response_format { text {} }"),
    ("response_format", {"type": "json_object"}, "response_format { json_object {} }"),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "s", "description": "d", "strict": None}},
     'response_format { json_schema { name: "s" description: "d" } }'),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "s", "schema": {"b": 1, "a": 2}, "strict": True}},
     'response_format { json_schema { name: "s" schema_json: "{\\"b\\":1,\\"a\\":2}" strict: true } }'),
    ("safety_identifier", "s", 'safety_identifier: "s"'),
    ("seed", -(2**63), "seed: -9223372036854775808"),
    ("service_tier", "fast", 'service_tier: "fast"'),
    ("stop", "x", 'stop: "x"'),
    ("stop", ["x", "y"], 'stop: ["x", "y"]'),
    ("store", True, "store: true"),
    ("stream_options", {"include_usage": True, "include_obfuscation": False},
     "stream_options { include_usage: true include_obfuscation: false }"),
    ("stream_options", {}, "stream_options {}"),
    ("temperature", 0, "temperature: 0"),
    ("tool_choice", "required", "tool_choice { mode: TOOL_CHOICE_MODE_REQUIRED }"),
    ("tool_choice", {"type": "function", "function": {"name": "f"}}, 'tool_choice { function_name: "f" }'),
    ("tool_choice", {"type": "custom", "custom": {"name": "c"}}, 'tool_choice { custom_name: "c" }'),
    ("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
     'tool_choice { allowed_tools { mode: TOOL_CHOICE_MODE_AUTO tools_json: "{\\"type\\":\\"function\\",\\"function\\":{\\"name\\":\\"f\\"}}" } }'),
    ("tools", [{"type": "function", "function": {"name": "f", "strict": False}}], 'tools { function { name: "f" strict: false } }'),
    ("tools", [{"type": "custom", "custom": {"name": "c"}}], 'tools { custom { name: "c" } }'),
    ("tools", [{"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}}],
     'tools { custom { name: "c" description: "d" text {} } }'),
    ("tools", [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}}],
     'tools { custom { name: "c" grammar { syntax: "lark" definition: "x" } } }'),
    ("top_logprobs", 20, "top_logprobs: 20"),
    ("top_p", 0.25, "top_p: 0.25"),
    ("user", "", 'user: ""'),
    ("verbosity", "low", 'verbosity: "low"'),
    ("web_search_options", {}, "web_search_options {}"),
    ("web_search_options", {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"country": "DE", "city": "Ulm"}}},
     'web_search_options { search_context_size: "low" user_location { country: "DE" city: "Ulm" } }'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "text"), FIELDS)
def test_every_field_has_its_home(name: str, value: Any, text: str) -> None:
    assert contract(**{name: value}) == expected(text)


def test_the_table_above_is_complete() -> None:
    tested = {name for name, _, _ in FIELDS} | {"model", "messages", "stream"}
    assert tested == set(CompletionRequest.model_fields)
    assert len(tested) == 37
    fields = set(chat_pb2.CreateChatCompletionRequest.DESCRIPTOR.fields_by_name)
    assert tested - {"stream"} == fields - {"extra_json"}


@pytest.mark.parametrize("name", sorted({name for name, _, _ in FIELDS} | {"stream"}))
def test_null_means_absent(name: str) -> None:
    assert contract(**{name: None}) == expected("")


@pytest.mark.parametrize("name", ["tools", "functions", "stop", "modalities"])
def test_an_empty_list_means_absent(name: str) -> None:
    assert contract(**{name: []}) == expected("")


MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"role": "developer", "content": "x", "name": "n"}, 'role: ROLE_DEVELOPER content: "x" name: "n"'),
    ({"role": "system", "content": ""}, 'role: ROLE_SYSTEM content: ""'),
    ({"role": "user", "content": [{"type": "text", "text": ""}]}, "role: ROLE_USER parts { text {} }"),
    ({"role": "user", "content": [], "name": None}, "role: ROLE_USER"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]},
     'role: ROLE_USER parts { image_url { url: "u" detail: "low" } }'),
    ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}}]},
     'role: ROLE_USER parts { input_audio { data: "d" format: "wav" } }'),
    ({"role": "user", "content": [{"type": "file", "file": {"file_data": "d", "filename": "f", "file_id": "i"}}]},
     'role: ROLE_USER parts { file { file_data: "d" file_id: "i" filename: "f" } }'),
    ({"role": "user", "content": [{"type": "file", "file": {}, "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}]},
     'role: ROLE_USER parts { file {} prompt_cache_breakpoint { mode: "explicit" ttl: "12h" } }'),
    ({"role": "assistant"}, "role: ROLE_ASSISTANT"),
    ({"role": "assistant", "content": [{"type": "refusal", "refusal": ""}]}, "role: ROLE_ASSISTANT parts { refusal {} }"),
    ({"role": "assistant", "content": "x", "refusal": "no", "audio": {"id": "a", "data": "ignored"}},
     'role: ROLE_ASSISTANT content: "x" refusal: "no" audio { id: "a" }'),
    ({"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{"}}]},
     'role: ROLE_ASSISTANT tool_calls { id: "1" function { name: "f" arguments: "{" } }'),
    ({"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
     'role: ROLE_ASSISTANT tool_calls { id: "1" custom { name: "f" input: "x" } }'),
    ({"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
     'role: ROLE_ASSISTANT function_call { name: "f" arguments: "" }'),
    ({"role": "assistant", "reasoning_content": "r", "reasoning": "s"}, 'role: ROLE_ASSISTANT reasoning_content: "r"'),
    ({"role": "assistant", "reasoning": "s"}, 'role: ROLE_ASSISTANT reasoning_content: "s"'),
    ({"role": "assistant", "reasoning": {"effort": "low"}}, "role: ROLE_ASSISTANT"),
    ({"role": "tool", "content": "x", "tool_call_id": "1", "name": 5}, 'role: ROLE_TOOL content: "x" tool_call_id: "1"'),
    ({"role": "tool", "content": "x", "tool_call_id": "1", "name": "f"}, 'role: ROLE_TOOL content: "x" tool_call_id: "1" name: "f"'),
    ({"role": "tool", "content": [{"type": "text", "text": "x"}], "tool_call_id": "1"},
     'role: ROLE_TOOL parts { text { text: "x" } } tool_call_id: "1"'),
    ({"role": "function", "content": None, "name": "f"}, 'role: ROLE_FUNCTION name: "f"'),
]  # fmt: skip


@pytest.mark.parametrize(("message", "text"), MESSAGES)
def test_messages(message: dict[str, Any], text: str) -> None:
    assert contract(messages=[message]) == expected(f"messages {{ {text} }}")


def test_what_clients_replay_is_accepted() -> None:
    replayed = {
        "role": "assistant",
        "content": "x",
        "name": None,
        "tool_calls": None,
        "refusal": None,
        "annotations": [{"url_citation": "anything"}, {}, None],
        "audio": None,
        "function_call": None,
        "reasoning_content": None,
        "reasoning": None,
        "parsed": {"a": 1},
        "unheard_of": None,
        "tool_call_id": "of another kind of message",
    }
    plain = expected('messages { role: ROLE_ASSISTANT content: "x" }')
    assert contract(messages=[replayed]) == plain
    assert contract(messages=[{**replayed, "tool_calls": [], "annotations": None}]) == plain


def test_unknown_keys_travel_as_they_came() -> None:
    body = (
        '{"zeta":1.5,"model":"m","top_k":12345678901234567890123,"messages":[],'
        '"alpha":{"b":null,"a":["é",true]}}'
    )
    asked = to_contract(parse(body.encode()))
    assert asked.extra_json == (
        '{"zeta":1.5,"top_k":12345678901234567890123,"alpha":{"b":null,"a":["é",true]}}'
    )


def test_no_unknown_keys_no_extra_json() -> None:
    assert not contract().HasField("extra_json")


# Where else unknown keys are kept: a request with one, and where it stands in the contract.
EXTENSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{"role": "user", "content": "", "x": 1}]},
     "messages { role: ROLE_USER content: '' % }"),
    ({"messages": [{"role": "assistant", "content": "", "x": 1, "parsed": 1, "reasoning": {}}]},
     "messages { role: ROLE_ASSISTANT content: '' % }"),
    ({"messages": [{"role": "tool", "content": "", "tool_call_id": "", "x": 1, "tool_calls": []}]},
     "messages { role: ROLE_TOOL content: '' tool_call_id: '' % }"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "", "x": 1}]}]},
     "messages { role: ROLE_USER parts { text {} % } }"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "x": 1}}]}]},
     "messages { role: ROLE_USER parts { image_url { url: 'u' % } } }"),
    ({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "index": 0, "x": 1, "function": {"name": "f", "arguments": "", "parsed_arguments": 1}}]}]},
     "messages { role: ROLE_ASSISTANT tool_calls { id: '1' function { name: 'f' } % } }"),
    ({"messages": [{"role": "assistant", "annotations": [{"x": 1}]}]},
     "messages { role: ROLE_ASSISTANT annotations { % } }"),
    ({"tools": [{"type": "function", "function": {"name": "f"}, "x": 1}]},
     "tools { function { name: 'f' } % }"),
    ({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]},
     "tools { function { name: 'f' % } }"),
    ({"tools": [{"type": "custom", "custom": {"name": "f", "x": 1}}]},
     "tools { custom { name: 'f' % } }"),
    ({"response_format": {"type": "json_object", "x": 1, "json_schema": None}},
     "response_format { json_object {} % }"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "x": 1}}},
     "response_format { json_schema { name: 's' % } }"),
    ({"stream_options": {"x": 1}}, "stream_options { % }"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "text"), EXTENSIBLE, ids=[row[1] for row in EXTENSIBLE])
def test_unknown_keys_below_the_top(body: dict[str, Any], text: str) -> None:
    assert contract(**body) == expected(text.replace("%", """extra_json: '{"x":1}'"""))


def test_a_number_that_json_cannot_write_is_refused_by_its_place() -> None:
    body = '{"model":"m","messages":[{"role":"user","content":"","x":[1e999]}]}'
    with pytest.raises(Refusal) as caught:
        to_contract(parse(body.encode()))
    assert caught.value.param == "messages[0]"


def test_schemas_keep_the_order_of_keys_and_all_digits() -> None:
    schema = '{"z":{"const":9007199254740993},"a":{"enum":[123456789012345678901234567890,"ß"]}}'
    function = f'{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}'
    body = f'{{"model":"m","messages":[],"tools":[{function}]}}'
    asked = to_contract(parse(body.encode()))
    assert asked.tools[0].function.parameters_json == schema


def test_a_list_of_one_text_stays_a_list() -> None:
    asked = contract(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}])
    assert not asked.messages[0].HasField("content")
    assert len(asked.messages[0].parts) == 1
