"""Conversations, and the messages that a model gets of them."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import json
from typing import Any

import pytest

from diglot.service.embedded.answer_form import AnswerForm, CallForm, Schema
from diglot.service.embedded.tool_prompt import prompted

Json = dict[str, Any]

USER = {"role": "user", "content": "Hi"}


def call(name: str, arguments: str) -> Json:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


def custom(name: str, text: str) -> Json:
    return {"id": "c2", "type": "custom", "custom": {"name": name, "input": text}}


def parts(*texts: str) -> list[Json]:
    return [{"type": "text", "text": text} for text in texts]


CALLED = '<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>'
TABLE: list[tuple[str, list[Json], list[Json]]] = [
    ("a user", [USER], [USER]),
    ("parts stay parts", [{"role": "user", "content": parts("a", "b")}], [{"role": "user", "content": parts("a", "b")}]),
    ("developers are system", [{"role": "developer", "content": "Be brief."}, USER], [{"role": "system", "content": "Be brief."}, USER]),
    ("an answer", [{"role": "assistant", "content": "Yes", "name": "x"}], [{"role": "assistant", "content": "Yes"}]),
    ("an answer in parts", [{"role": "assistant", "content": [*parts("a"), {"type": "refusal", "refusal": "no"}]}], [{"role": "assistant", "content": "a\nno"}]),
    ("a refusal", [{"role": "assistant", "content": None, "refusal": "No."}], [{"role": "assistant", "content": "No."}]),
    ("a call", [{"role": "assistant", "content": None, "tool_calls": [call("f", '{"a": "é"}')]}], [{"role": "assistant", "content": CALLED}]),
    ("text and calls", [{"role": "assistant", "content": "So:", "tool_calls": [call("f", '{"a": "é"}'), call("g", "")]}], [{"role": "assistant", "content": f'So:\n{CALLED}\n<tool_call>\n{{"name": "g", "arguments": {{}}}}\n</tool_call>'}]),
    ("a custom call", [{"role": "assistant", "content": None, "tool_calls": [custom("sql", 'say "é"\n')]}], [{"role": "assistant", "content": '<tool_call>\n{"name": "sql", "input": "say \\"é\\"\\n"}\n</tool_call>'}]),
    ("a deprecated call", [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": "é"}'}}], [{"role": "assistant", "content": CALLED}]),
    ("a result", [{"role": "tool", "tool_call_id": "c1", "content": "5 °C"}], [{"role": "user", "content": "<tool_response>\n5 °C\n</tool_response>"}]),
    ("a result in parts", [{"role": "tool", "tool_call_id": "c1", "content": parts("5", "°C")}], [{"role": "user", "content": "<tool_response>\n5\n°C\n</tool_response>"}]),
    ("a deprecated result of nothing", [{"role": "function", "name": "f", "content": None}], [{"role": "user", "content": "<tool_response>\n\n</tool_response>"}]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "told"), [pytest.param(*row[1:], id=row[0]) for row in TABLE])
def test_messages_as_a_model_reads_them(given: list[Json], told: list[Json]) -> None:
    assert prompted({"messages": given}, AnswerForm()) == told


TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "é {x}", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "g"}},
    {"type": "custom", "custom": {"name": "sql"}},
]  # fmt: skip


def told(messages: list[Json], form: AnswerForm, **asked: Any) -> list[Json]:
    return prompted({"messages": messages, **asked}, form)


def listed(text: str) -> list[Json]:
    """The tools that the text tells of."""
    inside = text.partition("\n<tools>\n")[2].partition("\n</tools>")[0]
    return [json.loads(line) for line in inside.splitlines()]


def test_tools_are_told_in_a_system_message_of_their_own() -> None:
    form = AnswerForm((CallForm("f"), CallForm("sql")))
    system, user = told([USER], form, tools=TOOLS)
    assert user == USER
    assert system["role"] == "system"
    # All of them, so that the prompt stays the same whichever may be called.
    assert listed(system["content"]) == TOOLS
    assert '"input": "<text>"' in system["content"]
    assert "You must call" not in system["content"]


def test_or_at_the_end_of_the_one_that_is_there() -> None:
    form = AnswerForm((CallForm("f"), CallForm("g")), forced=True)
    given: list[Json] = [{"role": "developer", "content": parts("Be brief.", "Be kind.")}, USER]
    system, user = told(given, form, tools=TOOLS[:2])
    assert user == USER
    assert system["content"].startswith("Be brief.\nBe kind.\n\nYou may call")
    assert listed(system["content"]) == TOOLS[:2]
    assert '"input"' not in system["content"]
    assert system["content"].endswith("You must call a function now: f or g.")


def test_later_system_messages_stay_where_they_are() -> None:
    later = {"role": "system", "content": "And now?"}
    given = [{"role": "system", "content": "Be brief."}, USER, later]
    messages = told(given, AnswerForm((CallForm("f"),)), tools=TOOLS)
    assert [message["role"] for message in messages] == ["system", "user", "system"]
    assert messages[2] == later
    first_is_user = told([USER, later], AnswerForm((CallForm("f"),)), tools=TOOLS)
    assert [message["role"] for message in first_is_user] == ["system", "user", "system"]


def test_deprecated_functions_are_tools() -> None:
    functions = [TOOLS[0]["function"], TOOLS[1]["function"]]
    system, _ = told([USER], AnswerForm((CallForm("g"),)), functions=functions)
    assert listed(system["content"]) == TOOLS[:2]


def test_a_schema_is_told_behind_the_tools() -> None:
    schema = Schema('{"type": "object"}', exact=True, field="", owner="")
    form = AnswerForm((CallForm("f"),), json=schema)
    system, _ = told([USER], form, tools=TOOLS)
    assert system["content"].endswith(f"by this schema:\n{schema.text}")
    assert "<tools>" in system["content"]


def test_what_was_asked_stays_as_it_was() -> None:
    given = [{"role": "system", "content": "Be brief."}, USER]
    before = json.dumps(given)
    told(given, AnswerForm((CallForm("f"),)), tools=TOOLS)
    assert json.dumps(given) == before
