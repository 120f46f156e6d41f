"""Promises, and answers that break them: caught before an answer ends well."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from engines import BurstEngine, one_by_one
from serving import ask, scripted_service

from diglot.burst import Burst, TextRun, chunks_of
from diglot.service.answer_check import AnswerCheck
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.errors import InvalidAnswer
from diglot.service.models import Models, ServedModel
from diglot.service.store import CompletionStore, SqliteFile
from diglot.v1 import completion_pb2 as c
from diglot.v1 import tool_pb2 as t
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.model_pb2 import Model

CALL = Call(request_id="req_test", caller="tester")
Json = dict[str, Any]
Said = TypeVar("Said", ChatCompletionChunk, Burst)

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
REQUIRED = {"mode": t.TOOL_CHOICE_MODE_REQUIRED}
AUTO = {"mode": t.TOOL_CHOICE_MODE_AUTO}
ANY_OBJECT: Json = {"response_format": {"json_object": {}}}


def by_schema(**fields: Any) -> Json:
    form = {"name": "city", "schema_json": json.dumps(CITY), **fields}
    return {"response_format": {"json_schema": form}}


def function(name: str, **fields: Any) -> Json:
    return {"function": {"name": name, "parameters_json": json.dumps(CITY), **fields}}


def tools(*given: Json, choice: Json | None = None) -> Json:
    return {"tools": list(given), **({} if choice is None else {"tool_choice": choice})}


def says(content: str) -> Json:
    return {"content": content}


def calls(*made: tuple[str, str]) -> Json:
    return {"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in made]}


def allowed(mode: int, *names: str) -> Json:
    given = [json.dumps({"type": "function", "function": {"name": name}}) for name in names]
    return {"allowed_tools": {"mode": mode, "tools_json": given}}


DEPRECATED = {"functions": [function("f")["function"]], "function_call": {"name": "f"}}
GOOD, BAD = '{"city": "Oslo"}', '{"city": 5}'
F, G, STRICT = function("f"), function("g"), function("f", strict=True)
CUSTOM: Json = {"custom": {"name": "sql"}}

KEPT: list[tuple[str, Json, Json]] = [
    ("any object", ANY_OBJECT, says(' {"a": [1]}\n')),
    ("a schema", by_schema(), says(GOOD)),
    ("a strict schema", by_schema(strict=True), says(GOOD)),
    ("a schema that is not there", {"response_format": {"json_schema": {"name": "x"}}}, says("5")),
    ("a refusal in place of JSON", by_schema(strict=True), {"refusal": "I would rather not."}),
    ("calls in place of JSON", {**by_schema(), **tools(F)}, calls(("f", "{}"))),
    ("a required call", tools(F, G, choice=REQUIRED), calls(("g", GOOD), ("f", GOOD))),
    ("a named call", tools(F, G, choice={"function_name": "g"}), calls(("g", GOOD))),
    ("an allowed call", tools(F, G, choice=allowed(t.TOOL_CHOICE_MODE_REQUIRED, "g")), calls(("g", GOOD))),
    ("no call where none must be", tools(STRICT, choice=AUTO), says("Hello")),
    ("a call of a strict function", tools(STRICT), calls(("f", GOOD))),
    ("a call that nobody promised anything of", tools(F, STRICT | {"function": {**STRICT["function"], "name": "s"}}), calls(("f", BAD))),
    ("a deprecated call", DEPRECATED, calls(("f", GOOD))),
    ("a refusal in place of a call", tools(F, choice=REQUIRED), {"refusal": "No."}),
]  # fmt: skip

BROKEN: list[tuple[str, Json, Json, str]] = [
    ("no JSON", ANY_OBJECT, says("Hello"), "response_format"),
    ("nothing", ANY_OBJECT, says(""), "response_format"),
    ("JSON, but no object", ANY_OBJECT, says("[]"), "response_format"),
    ("JSON with a text behind", ANY_OBJECT, says("{} there"), "response_format"),
    ("what only Python takes for JSON", ANY_OBJECT, says('{"a": NaN}'), "response_format"),
    ("JSON of another schema", by_schema(), says(BAD), "response_format"),
    ("JSON of another strict schema", by_schema(strict=True), says("{}"), "response_format"),
    ("no call", tools(F, choice=REQUIRED), says("Hello"), "did not call"),
    ("no call of the one that was named", tools(F, choice={"function_name": "f"}), says(GOOD), "did not call"),
    ("no call of a custom tool", tools(CUSTOM, choice={"custom_name": "sql"}), says("x"), "did not call"),
    ("no deprecated call", DEPRECATED, says("Hello"), "did not call"),
    ("another call than named", tools(F, G, choice={"function_name": "f"}), calls(("g", GOOD)), "called 'g'"),
    ("another call than allowed", tools(F, G, choice=allowed(t.TOOL_CHOICE_MODE_REQUIRED, "f")), calls(("g", GOOD)), "called 'g'"),
    ("a call of something else", tools(F, choice=REQUIRED), calls(("nothing", GOOD)), "called 'nothing'"),
    ("a forced call with other arguments", tools(F, choice=REQUIRED), calls(("f", BAD)), "arguments"),
    ("a second call with other arguments", tools(STRICT), calls(("f", GOOD), ("f", BAD)), "arguments"),
    ("a call with no arguments at all", tools(STRICT), calls(("f", "")), "arguments"),
    ("a strict call with other arguments", tools(STRICT), calls(("f", BAD)), "called 'f'"),
]  # fmt: skip


async def collect(said: AsyncGenerator[Said, None], seen: list[Said]) -> None:
    """`seen` also has what came before an error."""
    async with aclosing(said):
        async for each in said:
            seen.append(each)  # noqa: PERF401


@pytest.mark.parametrize(("fields", "script"), [pytest.param(*row[1:], id=row[0]) for row in KEPT])
async def test_what_was_promised_passes(fields: Json, script: Json) -> None:
    async with scripted_service() as chat:
        whole = await chat.create(ask(script=script, **fields), CALL)
        chunks = [
            chunk async for chunk in one_by_one(chat.stream(ask(script=script, **fields), CALL))
        ]
    [choice] = whole.choices
    said = "".join(k.delta.content for chunk in chunks for k in chunk.choices)
    assert said == choice.message.content == script.get("content", "")
    assert len(choice.message.tool_calls) == len(script.get("tool_calls", ()))
    assert chunks[-1].choices[0].finish_reason == choice.finish_reason


@pytest.mark.parametrize(
    ("fields", "script", "why"), [pytest.param(*row[1:], id=row[0]) for row in BROKEN]
)
async def test_what_was_not_is_an_error_before_the_answer_ends(
    fields: Json, script: Json, why: str
) -> None:
    async with scripted_service() as chat:
        with pytest.raises(InvalidAnswer, match=why):
            await chat.create(ask(script=script, **fields), CALL)
        seen: list[ChatCompletionChunk] = []
        with pytest.raises(InvalidAnswer, match=why):
            await collect(one_by_one(chat.stream(ask(script=script, **fields), CALL)), seen)
    assert seen
    assert not any(choice.finish_reason for chunk in seen for choice in chunk.choices)


@pytest.mark.parametrize("stored", [False, True])
async def test_what_came_together_with_a_broken_promise_is_delivered_first(
    stored: bool, tmp_path: Path
) -> None:
    """All of one burst, but for the end that breaks it, and what comes after that."""
    store = CompletionStore(SqliteFile(tmp_path / "db"))
    store.start()
    request = ask(script=says("It is cold."), n=2, store=stored, **by_schema(strict=True))
    try:
        async with scripted_service(store) as chat:
            assert len([burst async for burst in chat.engine.stream(request, CALL)]) == 1
            bursts: list[Burst] = []
            with pytest.raises(InvalidAnswer, match="form"):
                await collect(chat.stream(request, CALL), bursts)
            assert chat.engine.active == 0
    finally:
        await store.close()
    [burst] = bursts
    first, second, run = burst
    assert isinstance(run, TextRun)
    assert run.texts == ["It", " is", " cold."]
    assert [chunk.choices[0].index for chunk in chunks_of([first, second])] == [0, 1]
    assert len({chunk.id for chunk in chunks_of(burst)} - {""}) == 1


async def test_a_choice_that_keeps_its_promise_ends_before_one_that_breaks_it() -> None:
    def text(index: int, said: str) -> TextRun:
        common = ChatCompletionChunk()
        common.choices.add(index=index).delta.content = " "
        return TextRun(common, [said])

    def end(index: int) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk()
        chunk.choices.add(index=index, finish_reason=c.FINISH_REASON_STOP)
        return chunk

    burst: Burst = [text(0, GOOD), text(1, "cold"), end(0), end(1)]
    engine = BurstEngine(burst)
    models = Models([ServedModel(Model(id="scripted"), engine)])
    await models.start()
    bursts: list[Burst] = []
    with pytest.raises(InvalidAnswer, match="form"):
        await collect(ChatService(models).stream(ask(n=2, **by_schema(strict=True)), CALL), bursts)
    assert bursts == [burst[:3]]


@pytest.mark.parametrize("fields", [by_schema(strict=True), tools(F, choice=REQUIRED)])
async def test_an_answer_that_was_cut_says_so_itself(fields: Json) -> None:
    async with scripted_service() as chat:
        request = ask(script=says('{"city": "Oslo'), max_tokens=1, **fields)
        whole = await chat.create(request, CALL)
    assert whole.choices[0].finish_reason == c.FINISH_REASON_LENGTH


def chunk_of(
    index: int, content: str, reason: c.FinishReason.ValueType | None = None
) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk()
    choice = chunk.choices.add(index=index)
    choice.delta.content = content
    if reason is not None:
        choice.finish_reason = reason
    return chunk


def test_an_answer_that_was_withheld_says_so_itself() -> None:
    check = AnswerCheck(ask(**by_schema()))
    chunk = chunk_of(0, "{", c.FINISH_REASON_CONTENT_FILTER)
    check.look(chunk)


def test_each_choice_is_looked_at_by_itself() -> None:
    check = AnswerCheck(ask(**by_schema()))
    check.look(chunk_of(0, '{"city": '))
    check.look(chunk_of(1, '{"city": '))
    check.look(chunk_of(0, '"Oslo"}', c.FINISH_REASON_STOP))
    check.look(chunk_of(1, "5}"))
    with pytest.raises(InvalidAnswer):
        check.look(chunk_of(1, "", c.FINISH_REASON_STOP))


@pytest.mark.parametrize(
    ("fields", "promised"),
    [
        ({}, False),
        ({"response_format": {"text": {}}}, False),
        (tools(F, G), False),
        (tools(F, choice=AUTO), False),
        (tools(F, choice=allowed(t.TOOL_CHOICE_MODE_AUTO, "f")), False),
        ({"functions": [F["function"]]}, False),
        (tools(STRICT), True),
        (tools(F, choice=REQUIRED), True),
        (DEPRECATED, True),
        (ANY_OBJECT, True),
    ],
)
def test_where_nothing_is_promised_nothing_is_looked_at(fields: Json, promised: bool) -> None:
    assert bool(AnswerCheck(ask(**fields))) == promised
