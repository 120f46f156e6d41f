"""The real model, 135 million parameters small, calls tools and answers in JSON without fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
from engines import one_by_one
from service.test_embedded import embedded
from serving import ask

from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.v1 import completion_pb2 as c
from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import Message

CALL = Call("req_test", "tester")
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TIME: dict[str, Any] = {
    "type": "object",
    "properties": {"zone": {"type": "integer", "minimum": -12, "maximum": 14}},
}


def function(name: str, schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "parameters_json": json.dumps(schema), **fields}}


TOOLS = [function("weather", WEATHER, strict=True), function("time", TIME)]
SCHEMAS = {"weather": WEATHER, "time": TIME}


def asked(**fields: Any) -> CreateChatCompletionRequest:
    question = "What is the weather in Paris?"
    return ask(question, model="small", **({"max_tokens": 150, "seed": 5} | fields))


async def test_forms(model_path: Path) -> None:
    """One model for several looks at it: loading takes its time."""
    async with embedded(model_path) as (chat, _):
        called = await _a_required_call(chat)
        await _a_named_call(chat)
        await _one_call_at_most(chat)
        await _an_allowed_call(chat)
        await _a_deprecated_call(chat)
        await _a_cut_call(chat)
        await _a_choice_of_its_own(chat)
        await _a_custom_call(chat)
        await _a_conversation_with_calls(chat, called)
        await _json_by_schema(chat)
        await _any_json(chat)


async def _a_required_call(chat: ChatService) -> Message:
    request = asked(tools=TOOLS, tool_choice={"mode": t.TOOL_CHOICE_MODE_REQUIRED})
    whole = await chat.create(request, CALL)
    [choice] = whole.choices
    assert choice.finish_reason == c.FINISH_REASON_TOOL_CALLS
    assert not choice.message.HasField("content")
    assert choice.message.tool_calls
    for call in choice.message.tool_calls:
        assert call.id
        jsonschema_rs.validate(SCHEMAS[call.function.name], json.loads(call.function.arguments))
    await _streamed_as_header_and_fragments(chat, request, whole)
    return choice.message


async def _streamed_as_header_and_fragments(
    chat: ChatService, request: CreateChatCompletionRequest, whole: c.ChatCompletion
) -> None:
    chunks = [chunk async for chunk in one_by_one(chat.stream(request, CALL))]
    pieces = [piece for chunk in chunks for k in chunk.choices for piece in k.delta.tool_calls]
    texts: list[str] = []
    for piece in pieces:
        if piece.id:
            assert piece.index == len(texts)
            assert piece.function.arguments == ""
            texts.append("")
        else:
            assert not piece.function.HasField("name")
            texts[piece.index] += piece.function.arguments
    assert len(pieces) > 2 * len(texts)
    assert texts == [k.function.arguments for k in whole.choices[0].message.tool_calls]


async def _a_named_call(chat: ChatService) -> None:
    """OpenAI ends it with "stop" (vllm-project/vllm#25054)."""
    whole = await chat.create(asked(tools=TOOLS, tool_choice={"function_name": "time"}), CALL)
    [choice] = whole.choices
    assert choice.finish_reason == c.FINISH_REASON_STOP
    [call] = choice.message.tool_calls
    assert call.function.name == "time"
    jsonschema_rs.validate(TIME, json.loads(call.function.arguments))


async def _one_call_at_most(chat: ChatService) -> None:
    required = {"mode": t.TOOL_CHOICE_MODE_REQUIRED}
    request = asked(tools=TOOLS, tool_choice=required, parallel_tool_calls=False, n=2)
    for choice in (await chat.create(request, CALL)).choices:
        assert len(choice.message.tool_calls) == 1


async def _an_allowed_call(chat: ChatService) -> None:
    allowed = t.AllowedTools(mode=t.TOOL_CHOICE_MODE_REQUIRED)
    allowed.tools_json.append('{"type": "function", "function": {"name": "time"}}')
    whole = await chat.create(asked(tools=TOOLS, tool_choice={"allowed_tools": allowed}), CALL)
    assert {call.function.name for call in whole.choices[0].message.tool_calls} == {"time"}
    assert whole.choices[0].finish_reason == c.FINISH_REASON_TOOL_CALLS


async def _a_cut_call(chat: ChatService) -> None:
    required = {"mode": t.TOOL_CHOICE_MODE_REQUIRED}
    whole = await chat.create(asked(tools=TOOLS, tool_choice=required, max_tokens=20), CALL)
    assert whole.choices[0].finish_reason == c.FINISH_REASON_LENGTH


async def _a_choice_of_its_own(chat: ChatService) -> None:
    """Text or calls, but nothing of the tags that it writes them in."""
    for mode in (t.TOOL_CHOICE_MODE_AUTO, t.TOOL_CHOICE_MODE_NONE):
        request = asked(tools=TOOLS, tool_choice={"mode": mode}, max_tokens=50)
        whole = await chat.create(request, CALL)
        message = whole.choices[0].message
        assert message.content or message.tool_calls
        assert "<tool_call>" not in message.content
        if mode == t.TOOL_CHOICE_MODE_NONE:
            assert not message.tool_calls


async def _a_deprecated_call(chat: ChatService) -> None:
    functions = [tool["function"] for tool in TOOLS]
    request = asked(functions=functions, function_call={"name": "weather"})
    whole = await chat.create(request, CALL)
    [choice] = whole.choices
    assert choice.finish_reason == c.FINISH_REASON_STOP
    assert not choice.message.tool_calls
    assert not choice.message.HasField("content")
    assert choice.message.function_call.name == "weather"
    jsonschema_rs.validate(WEATHER, json.loads(choice.message.function_call.arguments))


async def _a_custom_call(chat: ChatService) -> None:
    pattern = 'SELECT [a-z]{1,8} FROM "[a-z]{1,8}"'
    tool = {"custom": {"name": "sql", "grammar": {"syntax": "regex", "definition": pattern}}}
    whole = await chat.create(asked(tools=[tool], tool_choice={"custom_name": "sql"}), CALL)
    [call] = whole.choices[0].message.tool_calls
    assert call.custom.name == "sql"
    jsonschema_rs.validate({"pattern": f"^{pattern}$"}, call.custom.input)


async def _a_conversation_with_calls(chat: ChatService, said: Message) -> None:
    """An answer is sent back as it came, with results: of every form that there is."""
    request = asked(tools=TOOLS)
    request.messages.append(said)
    for call in said.tool_calls:
        request.messages.add(role=6 - 1, tool_call_id=call.id, content='{"degrees": 21}')
    request.messages.add(role=6, name="time", content="noon")
    request.messages.add(role=1).parts.add().text.text = "Answer in one sentence."
    request.tool_choice.mode = t.TOOL_CHOICE_MODE_NONE
    assert (await chat.create(request, CALL)).choices[0].message.content


async def _json_by_schema(chat: ChatService) -> None:
    for strict in (True, False):
        form = {"name": "w", "schema_json": json.dumps(WEATHER), "strict": strict}
        request = asked(response_format={"json_schema": form})
        whole = await chat.create(request, CALL)
        text = whole.choices[0].message.content
        jsonschema_rs.validate(WEATHER, json.loads(text))
    chunks = [chunk async for chunk in one_by_one(chat.stream(request, CALL))]
    assert text == "".join(k.delta.content for chunk in chunks for k in chunk.choices)
    cut = await chat.create(asked(response_format={"json_schema": form}, max_tokens=3), CALL)
    assert cut.choices[0].finish_reason == c.FINISH_REASON_LENGTH


async def _any_json(chat: ChatService) -> None:
    request = asked(response_format={"json_object": {}}, max_tokens=100)
    whole = await chat.create(request, CALL)
    if whole.choices[0].finish_reason == c.FINISH_REASON_STOP:
        assert isinstance(json.loads(whole.choices[0].message.content), dict)
