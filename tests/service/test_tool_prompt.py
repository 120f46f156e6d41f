"""Conversations, as every model's template can take them."""

# ruff: noqa: E501  # a table reads better in one line a row

from __future__ import annotations

import json
from typing import Any

import pytest

from diglot.facade.parse import parse
from diglot.facade.to_contract import to_contract
from diglot.service.embedded.answer_form import AnswerForm
from diglot.service.embedded.tool_prompt import prompted
from diglot.service.upstream.request_json import to_json

Json = dict[str, Any]
HELLO: Json = {"role": "user", "content": "hello"}
WEATHER: Json = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}},
}
SQL: Json = {"type": "custom", "custom": {"name": "sql"}}
SCHEMA: Json = {"type": "object", "properties": {"b": {}, "a": {}}}


def messages(*said: Json, **fields: Any) -> list[Json]:
    body = {"model": "m", "messages": list(said), **fields}
    request = to_contract(parse(json.dumps(body).encode()))
    return prompted(to_json(request), AnswerForm.of(request))


CONVERSATIONS: list[tuple[str, Json, Json]] = [
    ("a user's text", HELLO, HELLO),
    ("developers are the system", {"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
    ("an assistant's parts", {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}, {"role": "assistant", "content": "a\nb"}),
    ("a refusal", {"role": "assistant", "content": None, "refusal": "No."}, {"role": "assistant", "content": "No."}),
    ("a call", {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]},
     {"role": "assistant", "content": '<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call>'}),
    ("a call without arguments", {"role": "assistant", "content": "Wait.", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
     {"role": "assistant", "content": 'Wait.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'}),
    ("a custom call", {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "c", "input": 'x "y"\n'}}]},
     {"role": "assistant", "content": '<tool_call>\n{"name": "c", "input": "x \\"y\\"\\n"}\n</tool_call>'}),
    ("a deprecated call", {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
     {"role": "assistant", "content": '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'}),
    ("a result", {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "21"}]},
     {"role": "user", "content": "<tool_response>\n21\n</tool_response>"}),
    ("a deprecated result", {"role": "function", "name": "f", "content": None}, {"role": "user", "content": "<tool_response>\n\n</tool_response>"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said", "told"), CONVERSATIONS, ids=[row[0] for row in CONVERSATIONS]
)
def test_what_the_template_gets(name: str, said: Json, told: Json) -> None:
    assert messages(HELLO, said) == [HELLO, told]


def test_tools_stand_in_the_system_message() -> None:
    [system, user] = messages(HELLO, tools=[WEATHER])
    assert user == HELLO
    assert system["role"] == "system"
    assert json.dumps(WEATHER) in system["content"]
    assert "must" not in system["content"]
    assert "input" not in system["content"]


def test_behind_what_the_caller_says_there() -> None:
    parts = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]
    [system, _] = messages({"role": "developer", "content": parts}, HELLO, tools=[SQL])
    assert system["content"].startswith("Be\nbrief.\n\n")
    assert '"input"' in system["content"]


def test_who_forces_a_call_tells_the_model() -> None:
    [system, _] = messages(HELLO, tools=[WEATHER, SQL], tool_choice="required")
    assert system["content"].endswith("You must call a function now: weather or sql.")
    named = {"type": "custom", "custom": {"name": "sql"}}
    [chosen, _] = messages(HELLO, tools=[WEATHER, SQL], tool_choice=named)
    assert chosen["content"].endswith("now: sql.")
    # The same tools in the same order: a cached prompt stays good up to here.
    assert json.dumps(WEATHER) in chosen["content"]


def test_tools_that_may_not_be_called_are_not_told() -> None:
    assert messages(HELLO, tools=[WEATHER], tool_choice="none") == [HELLO]


def test_a_schema_is_told_in_its_own_order() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    [system, _] = messages(HELLO, response_format=form)
    assert json.dumps(SCHEMA, separators=(",", ":")) in system["content"]
