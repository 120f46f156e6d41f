"""What a request asks for, and the texts that its grammar allows."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import json
from typing import Any

import pytest
from grammars import Language
from serving import ask

from diglot.service.embedded import answer_form
from diglot.service.embedded.answer_form import AnswerForm, grammar_of
from diglot.service.embedded.grammar.gbnf import Grammar
from diglot.service.embedded.grammar.limits import Limits
from diglot.service.errors import ChatError, InvalidSchema, InvalidValue
from diglot.v1 import tool_pb2 as t

Json = dict[str, Any]

CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]}
F: Json = {"function": {"name": "f", "parameters_json": json.dumps(CITY)}}
G: Json = {"function": {"name": "g"}}
SQL: Json = {"custom": {"name": "sql", "grammar": {"syntax": "regex", "definition": "[ab]{1,2}"}}}
REQUIRED = {"mode": t.TOOL_CHOICE_MODE_REQUIRED}
NONE = {"mode": t.TOOL_CHOICE_MODE_NONE}


def form_of(**fields: Any) -> AnswerForm:
    return AnswerForm.of(ask(**fields))


def language(form: AnswerForm, limits: Limits | None = None) -> Language:
    grammar = Grammar()
    return Language(answer_form._root(form, grammar, limits or Limits()), grammar)


def call(name: str, text: str, key: str = "arguments") -> str:
    return f'<tool_call>\n{{"name": "{name}", "{key}": {text}}}\n</tool_call>'


ONE, OTHER, TEXT = call("f", '{"city": "Oslo"}'), call("g", "{}"), call("sql", '"ab"', "input")

TABLE: list[tuple[str, Json, list[str], list[str]]] = [
    ("forced", {"tools": [F, G], "tool_choice": REQUIRED}, [ONE, f"{OTHER}\n{ONE}"], ["", "x", f"x{ONE}", f"{ONE}{ONE}"]),
    ("one at most", {"tools": [F, G], "tool_choice": REQUIRED, "parallel_tool_calls": False}, [ONE], [f"{ONE}\n{ONE}"]),
    ("named", {"tools": [F, G], "tool_choice": {"function_name": "g"}}, [OTHER], [ONE, f"{OTHER}\n{OTHER}"]),
    ("a custom one", {"tools": [F, SQL], "tool_choice": {"custom_name": "sql"}}, [TEXT], [ONE, call("sql", '"c"', "input")]),
    ("if it wants", {"tools": [F]}, ["", "Hi <tool_cal", ONE, f"Well.\n{ONE}\n{ONE}", "<<tool" + ONE], [f"{ONE} x", "<tool_call>", "a <tool_call> b", OTHER]),
    ("or JSON", {"tools": [F], "response_format": {"json_object": {}}}, [ONE, "{}"], ["x", f"{{}}{ONE}"]),
    ("JSON", {"response_format": {"json_schema": {"name": "x", "schema_json": json.dumps(CITY)}}}, ['{"city": "Oslo"}'], ["{}", ONE]),
    ("any JSON", {"response_format": {"json_schema": {"name": "x"}}}, ["{}", "5", "[null]"], ["x"]),
    ("deprecated", {"functions": [F["function"]], "function_call": {"name": "f"}}, [ONE], [f"{ONE}\n{ONE}", "x"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "can", "cannot"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_the_grammar_allows_what_was_asked_for_alone(
    fields: Json, can: list[str], cannot: list[str]
) -> None:
    form = form_of(**fields)
    allowed = language(form)
    for text in can:
        assert text in allowed
    for text in cannot:
        assert text not in allowed
    assert (grammar_of(form, Limits()) or "").startswith("root ::= ")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": {"text": {}}},
        {"tools": [F], "tool_choice": NONE},
        {"functions": [F["function"]], "function_call": {"mode": t.TOOL_CHOICE_MODE_NONE}},
    ],
)
def test_text_needs_no_grammar(fields: Json) -> None:
    form = form_of(**fields)
    assert form.is_text
    assert grammar_of(form, Limits()) is None


def test_calls_have_a_limit_where_a_model_needs_one() -> None:
    allowed = language(form_of(tools=[F], tool_choice=REQUIRED), Limits(calls=1))
    assert ONE in allowed
    assert f"{ONE}\n{ONE}" not in allowed


def strict(schema: Json, **fields: Any) -> Json:
    form = {"name": "x", "strict": True, "schema_json": json.dumps(schema)}
    return {"response_format": {"json_schema": form}, **fields}


@pytest.mark.parametrize(
    ("fields", "error", "field", "why"),
    [
        (strict({"not": {}}), InvalidSchema, "response_format.json_schema.schema_json", "'not'"),
        (
            {"tools": [G, F | {"function": {**F["function"], "parameters_json": '{"type": "array"}'}}]},
            InvalidSchema,
            "tools[1].function.parameters_json",
            "function 'f'",
        ),
        (
            {"tools": [SQL | {"custom": {"name": "sql", "grammar": {"definition": "(?=a)"}}}]},
            InvalidValue,
            "tools[0].custom.grammar.definition",
            "lookaround at position 0",
        ),
        (
            strict({"type": "string", "minLength": 10**9}),
            InvalidSchema,
            "response_format.json_schema.schema_json",
            "too large",
        ),
    ],
)  # fmt: skip
def test_what_has_no_grammar_is_refused_with_its_field(
    fields: Json, error: type[ChatError], field: str, why: str
) -> None:
    with pytest.raises(error, match=why) as caught:
        grammar_of(form_of(**fields), Limits())
    assert caught.value.field == field
