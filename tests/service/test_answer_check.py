"""What a request was promised, its answer keeps, or it does not end well."""

# ruff: noqa: E501  # a table reads better in one line a row

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from serving import ask, scripted_service

from diglot.service.answer_check import AnswerCheck
from diglot.service.call import Call
from diglot.service.errors import InvalidAnswer
from diglot.v1 import completion_pb2 as c
from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

CALL = Call("req_test", "tester")
CITY = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
GOOD, BAD = '{"city": "Ulm"}', '{"town": "Ulm"}'
BY_SCHEMA: dict[str, Any] = {"response_format": {"json_schema": {"name": "x", "schema_json": CITY}}}
ANY_JSON: dict[str, Any] = {"response_format": {"json_schema": {"name": "x"}}}
AN_OBJECT: dict[str, Any] = {"response_format": {"json_object": {}}}
TOOL: dict[str, Any] = {"function": {"name": "f", "parameters_json": CITY}}
STRICT: dict[str, Any] = {"function": {"name": "f", "parameters_json": CITY, "strict": True}}
REQUIRED = {"mode": t.TOOL_CHOICE_MODE_REQUIRED}
ALLOWED: dict[str, Any] = {
    "allowed_tools": {
        "mode": t.TOOL_CHOICE_MODE_REQUIRED,
        "tools_json": ['{"type": "function", "function": {"name": "f"}}'],
    }
}


def says(content: str, **more: Any) -> dict[str, Any]:
    return {"content": content, **more}


def calls(arguments: str, name: str = "f") -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


KEPT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("by schema", BY_SCHEMA, says(GOOD)),
    ("any JSON", ANY_JSON, says("[1]")),
    ("an object", AN_OBJECT, says("{}")),
    ("refused instead", BY_SCHEMA, {"refusal": "No."}),
    ("called instead", {**BY_SCHEMA, "tools": [TOOL]}, calls(GOOD)),
    ("cut", {**BY_SCHEMA, "max_tokens": 1}, says('{"city": "Ulm" }')),
    ("required", {"tools": [TOOL], "tool_choice": REQUIRED}, calls(GOOD)),
    ("named", {"tools": [TOOL], "tool_choice": {"function_name": "f"}}, calls(GOOD)),
    ("strict", {"tools": [STRICT]}, calls(GOOD)),
    ("not strict, not forced", {"tools": [TOOL]}, calls(BAD)),
    ("strict, but another tool", {"tools": [STRICT, {"custom": {"name": "g"}}]}, calls("x", "g")),
    ("nothing called", {"tools": [STRICT]}, says("Hello")),
]  # fmt: skip

BROKEN: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("another schema", BY_SCHEMA, says(BAD), "response_format"),
    ("no JSON", BY_SCHEMA, says("city: Ulm"), "response_format"),
    ("JSON and more", BY_SCHEMA, says(GOOD + " Enjoy!"), "response_format"),
    ("no object", AN_OBJECT, says("[]"), "response_format"),
    ("no JSON at all", ANY_JSON, says("Hello"), "response_format"),
    ("nested too deep to read", ANY_JSON, says("[" * 100_000), "response_format"),
    ("the second answer", {**BY_SCHEMA, "n": 2}, says(BAD), "response_format"),
    ("required, not called", {"tools": [TOOL], "tool_choice": REQUIRED}, says("Hello"), "did not"),
    ("allowed, not called", {"tools": [TOOL], "tool_choice": ALLOWED}, says("Hello"), "did not"),
    ("required, badly", {"tools": [TOOL], "tool_choice": REQUIRED}, calls(BAD), "'f'"),
    ("named, badly", {"tools": [TOOL], "tool_choice": {"function_name": "f"}}, calls("{"), "'f'"),
    ("strict, badly", {"tools": [STRICT]}, calls(BAD), "'f'"),
    ("function, not called", {"functions": [{"name": "f"}], "function_call": {"name": "f"}}, says("x"), "did not"),
]  # fmt: skip


def request(fields: dict[str, Any], script: dict[str, Any]) -> CreateChatCompletionRequest:
    return ask(script=script, **fields)


@pytest.mark.parametrize(("name", "fields", "script"), KEPT, ids=[row[0] for row in KEPT])
async def test_a_promise_that_is_kept(
    name: str, fields: dict[str, Any], script: dict[str, Any]
) -> None:
    async with scripted_service() as chat:
        whole = await chat.create(request(fields, script), CALL)
        assert whole.choices[0].finish_reason
        async for _ in chat.stream(request(fields, script), CALL):
            pass


async def watch(
    chunks: AsyncIterator[ChatCompletionChunk], seen: list[ChatCompletionChunk]
) -> None:
    async for chunk in chunks:
        seen.append(chunk)  # noqa: PERF401  # a list made at once is lost when it fails


@pytest.mark.parametrize(("name", "fields", "script", "says"), BROKEN, ids=[b[0] for b in BROKEN])
async def test_a_promise_that_is_broken(
    name: str, fields: dict[str, Any], script: dict[str, Any], says: str
) -> None:
    """Whole: an error. Streamed: an error instead of the finish reason."""
    async with scripted_service() as chat:
        with pytest.raises(InvalidAnswer, match=says):
            await chat.create(request(fields, script), CALL)
        seen: list[ChatCompletionChunk] = []
        with pytest.raises(InvalidAnswer, match=says):
            await watch(chat.stream(request(fields, script), CALL), seen)
        assert seen
        assert not any(k.HasField("finish_reason") for chunk in seen for k in chunk.choices)
        assert not chat.engine.active


def test_who_was_promised_nothing_costs_nothing() -> None:
    assert not AnswerCheck(ask())
    assert not AnswerCheck(ask(tools=[TOOL]))
    assert not AnswerCheck(ask(tools=[TOOL], tool_choice={"mode": t.TOOL_CHOICE_MODE_AUTO}))
    assert not AnswerCheck(ask(response_format={"text": {}}))
    assert AnswerCheck(ask(**BY_SCHEMA))


async def test_large_numbers_are_numbers() -> None:
    async with scripted_service() as chat:
        script = says(json.dumps({"city": "x", "n": 2**80}))
        assert (await chat.create(request(BY_SCHEMA, script), CALL)).choices[0].finish_reason == (
            c.FINISH_REASON_STOP
        )
