"""An answer goes back into the next request as it came: OpenAI's clients do nothing else.

What the model is sent the second time is what it said the first time, whichever way both went.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from diglot.v1 import message_pb2
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import Message

from .plain import Json
from .scenarios import HELLO, TOOLS
from .ways import KEY, NAMES, SDK_NAMES, ByChannel, BySdk, arguments, open_sdk, open_way, to_request

# Each a first answer, as the scripted model is told to give it.
SCRIPTS: dict[str, Json] = {
    "text": {"content": "hello there"},
    "no text": {"content": ""},
    "refusal": {"refusal": "No."},
    "thoughts": {"content": "yes", "reasoning": "hm"},
    "tool calls": {
        "content": "let me look",
        "tool_calls": [{"name": "weather", "arguments": '{"city":"Ulm", "n": 1.0}'}] * 2,
    },
    "tool calls alone": {"tool_calls": [{"name": "weather"}]},
}
scripts = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
BODY: Json = {"model": "scripted", "messages": [HELLO], "tools": TOOLS}


def expected(script: Json) -> Message:
    """The first answer, as a message of the second request."""
    message = Message(role=message_pb2.ROLE_ASSISTANT)
    for name in ("content", "refusal"):
        if name in script:
            setattr(message, name, script[name])
    if "reasoning" in script:
        message.reasoning_content = script["reasoning"]
    for place, call in enumerate(script.get("tool_calls", ())):
        function = message_pb2.FunctionCall(
            name=call["name"], arguments=call.get("arguments", "{}")
        )
        message.tool_calls.add(id=f"call_scripted_0_{place}", function=function)
    return message


def results(calls: Any) -> list[Json]:
    return [
        {"role": "tool", "tool_call_id": call.id, "content": f"rain {place}"}
        for place, call in enumerate(calls or ())
    ]


def check(received: list[CreateChatCompletionRequest], script: Json) -> None:
    first, second = received[0], received[-1]
    assert second.messages[0] == first.messages[0]
    answer = expected(script)
    assert second.messages[1] == answer
    answered = [(message.tool_call_id, message.content) for message in second.messages[2:]]
    assert answered == [(call.id, f"rain {i}") for i, call in enumerate(answer.tool_calls)]


async def replayed(way: BySdk, answer: Any, calls: Any) -> None:
    """Sends the answer back, as a client does."""
    body = {**BODY, "messages": [HELLO, answer, *results(calls)]}
    await way.sdk.chat.completions.create(**arguments(body))


@pytest.mark.parametrize("name", SDK_NAMES)
@scripts
async def test_the_sdks_message(name: str, script: Json) -> None:
    """Its object, and as frameworks store it: a dictionary with every null."""
    async with open_sdk(name) as way:
        asked = arguments({**BODY, "scripted": script})
        message = (await way.sdk.chat.completions.create(**asked)).choices[0].message
        await replayed(way, message, message.tool_calls)
        check(way.received, script)
        stored: Json = json.loads(json.dumps(message.model_dump()))
        assert {"audio", "function_call", "refusal"} <= set(stored)
        await replayed(way, stored, message.tool_calls)
        check(way.received, script)


@pytest.mark.parametrize("name", SDK_NAMES)
@scripts
async def test_the_message_that_the_stream_helper_put_together(name: str, script: Json) -> None:
    async with open_sdk(name) as way:
        asked = arguments({**BODY, "scripted": script})
        async with way.sdk.chat.completions.stream(**asked) as events:
            async for _ in events:
                pass
            message = (await events.get_final_completion()).choices[0].message
        await replayed(way, message, message.tool_calls)
        check(way.received, script)


@pytest.mark.parametrize("name", NAMES[2:])
@scripts
async def test_the_contracts_message(name: str, script: Json) -> None:
    """As the contract's comment says: request.messages.append(…)."""
    options: dict[str, Any] = {"metadata": (("authorization", f"Bearer {KEY}"),), "timeout": 30}
    async with open_way(name) as way:
        assert isinstance(way, ByChannel)
        request = to_request({**BODY, "scripted": script})
        answer = await way.channel.CreateChatCompletion(request, **options)
        message = answer.choices[0].message
        # A message that was handed over belongs to who received it: a new one to go on with.
        request = to_request(BODY)
        request.messages.append(message)
        for result in results(message.tool_calls):
            request.messages.append(
                Message(
                    role=message_pb2.ROLE_TOOL,
                    tool_call_id=result["tool_call_id"],
                    content=result["content"],
                )
            )
        await way.channel.CreateChatCompletion(request, **options)
        check(way.received, script)


async def test_all_ways_send_the_model_the_same() -> None:
    """The first answer by one way, the second request by another."""
    body: Json = {**BODY, "scripted": SCRIPTS["tool calls"]}
    second: list[CreateChatCompletionRequest] = []
    for name in NAMES:
        async with open_way(name) as way:
            answer = (await way.create(body))["choices"][0]["message"]
            for call in answer["tool_calls"]:
                call["type"] = "function"
            await way.create({**BODY, "messages": [HELLO, answer, HELLO]})
            assert isinstance(way, BySdk | ByChannel)
            second.append(way.received[-1])
    assert all(request == second[0] for request in second)
