"""Both faces, with a core that asks in another dialect: Anthropic's, and Diglot's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import openai
import pytest
from google.protobuf.json_format import MessageToDict
from messages_server import (
    MODEL,
    MessagesServer,
    answering,
    block,
    error,
    messages_server,
    sse,
    start,
    stopped,
    text,
    thinking,
    tool_use,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

from diglot.facade import FacadeOptions, HttpServer, build_app
from diglot.facade.parse import parse
from diglot.facade.to_contract import to_contract
from diglot.service.anthropic import AnthropicEngine, MessagesEndpoint
from diglot.service.chat import ChatService
from diglot.service.engine import Engine
from diglot.service.entrance import NoKeys
from diglot.service.inprocess import InProcessChannel
from diglot.service.models import Models, ServedModel
from diglot.service.peer import Peer, PeerEngine
from diglot.service.scripted import ScriptedEngine
from diglot.service.server import GrpcServer
from diglot.v1 import completion_pb2 as c
from diglot.v1 import message_pb2 as m
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.model_pb2 import Model

if TYPE_CHECKING:
    from diglot.v1.chat_pb2_grpc import ChatServiceAsyncStub

PNG = "iVBORw0KGgo="
QUESTION: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is the weather there?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ],
    },
]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
ANSWER = sse(
    start(cache_read_input_tokens=10),
    *thinking(0, "That is ", "Paris."),
    *text(1, "I will ", "look."),
    *tool_use(2, "toolu_1", "weather", '{"city": ', '"Paris"}'),
    *stopped("tool_use"),
)


@dataclass
class Faces:
    sdk: AsyncOpenAI
    stub: ChatServiceAsyncStub


@asynccontextmanager
async def both_faces(engine: Engine) -> AsyncIterator[Faces]:
    """Of one core, whose model `ours` the engine answers for."""
    models = Models([ServedModel(Model(id="ours", owned_by="test"), engine)])
    chat = ChatService(models)
    async with AsyncExitStack() as running:
        running.push_async_callback(models.close)
        await models.start()
        server = GrpcServer(chat, models, NoKeys())
        running.push_async_callback(server.stop, 0)
        target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        app = build_app(InProcessChannel(chat, models, NoKeys()), FacadeOptions(timeout=30))
        http = HttpServer(app, "127.0.0.1", 0)
        await http.start()
        running.push_async_callback(http.stop, 0)
        wire = await running.enter_async_context(grpc.aio.insecure_channel(target))
        sdk = await running.enter_async_context(
            AsyncOpenAI(
                api_key="-",
                base_url=f"http://{http.address}/v1",
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(verify=False),
                _strict_response_validation=True,
            )
        )
        yield Faces(sdk, ChatServiceStub(wire))


def anthropic(server: MessagesServer) -> AnthropicEngine:
    return AnthropicEngine(MessagesEndpoint(server.base_url), MODEL)


def to_request(body: dict[str, Any]) -> CreateChatCompletionRequest:
    return to_contract(parse(json.dumps(body).encode()))


async def test_anthropic_sees_thinks_and_calls() -> None:
    """The same answer on both faces, streamed and whole; and the calls can be answered."""
    asked: dict[str, Any] = {
        "model": "ours",
        "messages": QUESTION,
        "tools": TOOLS,
        "reasoning_effort": "high",
    }
    async with (
        messages_server(answering(ANSWER)) as server,
        both_faces(anthropic(server)) as faces,
    ):
        whole = await faces.sdk.chat.completions.create(**asked)
        async with faces.sdk.chat.completions.stream(
            **asked, stream_options={"include_usage": True}
        ) as events:
            streamed = await events.get_final_completion()
        by_grpc = await faces.stub.CreateChatCompletion(to_request(asked), timeout=30)

        for completion in (whole, streamed):
            (choice,) = completion.choices
            message = choice.message
            assert choice.finish_reason == "tool_calls"
            assert message.content == "I will look."
            assert message.model_extra is not None
            assert message.model_extra["reasoning_content"] == "That is Paris."
            assert message.tool_calls is not None
            (call,) = message.tool_calls
            assert call.type == "function"
            assert (call.id, call.function.name) == ("toolu_1", "weather")
            assert call.function.arguments == '{"city": "Paris"}'
            assert completion.model == MODEL
            assert completion.usage is not None
            assert completion.usage.total_tokens == 50
        (answered,) = by_grpc.choices
        assert answered.finish_reason == c.FINISH_REASON_TOOL_CALLS
        assert MessageToDict(answered.message) == {
            "role": "ROLE_ASSISTANT",
            "content": "I will look.",
            "reasoningContent": "That is Paris.",
            "extraJson": '{"thinking_blocks":[{"type":"thinking","thinking":"That is Paris.",'
            '"signature":"EqQBCgIYAhIM"}]}',
            "toolCalls": [
                {
                    "id": "toolu_1",
                    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
                }
            ],
        }
        first, *others = server.bodies
        assert others == [first, first]
        assert first["system"] == [{"type": "text", "text": "Be brief."}]
        assert first["output_config"] == {"effort": "high"}
        (turn,) = first["messages"]
        assert turn["content"][1]["source"]["data"] == PNG

        request = to_request(asked)
        request.messages.append(answered.message)
        request.messages.add(role=m.ROLE_TOOL, tool_call_id="toolu_1", content="Rain.")
        server.handler = answering(sse(start(), *text(0, "It rains."), *stopped("end_turn")))
        said = [
            chunk.choices[0].delta.content
            async for chunk in faces.stub.StreamChatCompletion(request, timeout=30)
        ]
        assert "".join(said) == "It rains."
        assert [turn["role"] for turn in server.bodies[-1]["messages"]] == [
            "user",
            "assistant",
            "user",
        ]


async def test_anthropics_signed_thought_goes_back_with_the_results_of_calls() -> None:
    """Whole and streamed, on both faces: whoever appends the answer need not know of it."""
    redacted = {"type": "redacted_thinking", "data": "Eo8B"}
    asked: dict[str, Any] = {
        "model": "ours",
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": TOOLS,
        "reasoning_effort": "high",
    }
    thought = sse(
        start(),
        *thinking(0, "That is ", "Paris."),
        *block(1, redacted),
        *tool_use(2, "toolu_1", "weather", '{"city": "Paris"}'),
        *stopped("tool_use"),
    )
    result: Any = {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."}
    async with (
        messages_server(answering(thought)) as server,
        both_faces(anthropic(server)) as faces,
    ):
        whole = await faces.sdk.chat.completions.create(**asked)
        async with faces.sdk.chat.completions.stream(**asked) as events:
            streamed = await events.get_final_completion()
        by_grpc = to_request(asked)
        answer = await faces.stub.CreateChatCompletion(by_grpc, timeout=30)
        by_grpc.messages.append(answer.choices[0].message)
        by_grpc.messages.add(role=m.ROLE_TOOL, tool_call_id="toolu_1", content="Rain.")

        server.handler = answering(sse(start(), *text(0, "It rains."), *stopped("end_turn")))
        for completion in (whole, streamed):
            answered: Any = completion.choices[0].message.to_dict()
            await faces.sdk.chat.completions.create(
                **{**asked, "messages": [*asked["messages"], answered, result]}
            )
        await faces.stub.CreateChatCompletion(by_grpc, timeout=30)

        for body in server.bodies[-3:]:
            assert body["messages"][1]["content"] == [
                {"type": "thinking", "thinking": "That is Paris.", "signature": "EqQBCgIYAhIM"},
                redacted,
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "weather",
                    "input": {"city": "Paris"},
                },
            ]
            assert body["messages"][2]["content"][0]["type"] == "tool_result"

        forged = {**answered, "thinking_blocks": [{"type": "thinking", "thinking": "No."}]}
        with pytest.raises(openai.BadRequestError) as refused:
            await faces.sdk.chat.completions.create(
                **{**asked, "messages": [*asked["messages"], forged, result]}
            )
        assert refused.value.param == "messages[1].thinking_blocks[0]"


class Weather(BaseModel):
    city: str
    rain: bool


async def test_anthropic_answers_in_a_schema() -> None:
    """As OpenAI's SDK makes it of a class, and holds the answer against it."""
    said = sse(start(), *text(0, '{"city": "Paris", ', '"rain": true}'), *stopped("end_turn"))
    async with (
        messages_server(answering(said)) as server,
        both_faces(anthropic(server)) as faces,
    ):
        answer = await faces.sdk.chat.completions.parse(
            model="ours", messages=QUESTION, response_format=Weather
        )
        assert answer.choices[0].message.parsed == Weather(city="Paris", rain=True)
        form = server.bodies[0]["output_config"]["format"]
        assert form["schema"]["additionalProperties"] is False


async def test_anthropics_errors_are_openais() -> None:
    """Before the first token, and in the middle; and what it cannot do, by its name."""
    async with (
        messages_server() as server,
        both_faces(anthropic(server)) as faces,
    ):
        ask = faces.sdk.chat.completions.create
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(model="ours", messages=QUESTION, seed=1)
        assert (refused.value.param, refused.value.code) == ("seed", "unsupported_parameter")
        too_long = "prompt is too long: 208310 tokens > 200000 maximum"
        server.handler = answering(
            sse(error("invalid_request_error", too_long)).partition(b"data: ")[2], 400
        )
        with pytest.raises(openai.BadRequestError) as overflow:
            await ask(model="ours", messages=QUESTION)
        assert overflow.value.code == "context_length_exceeded"
        server.handler = answering(
            sse(start(), *text(0, "It "), error("overloaded_error", "Overloaded"))
        )
        stream = await ask(model="ours", messages=QUESTION, stream=True)
        with pytest.raises(openai.APIError, match="not available"):
            async for _ in stream:
                pass


async def test_another_diglot_answers_as_if_it_were_here() -> None:
    """Over both faces, its refusals included."""
    theirs = ScriptedEngine()
    models = Models([ServedModel(Model(id="theirs"), theirs)])
    server = GrpcServer(ChatService(models), models, NoKeys())
    port = await server.start("127.0.0.1:0")
    await models.start()
    script = {"content": "Hm.", "tool_calls": [{"name": "weather", "arguments": '{"city": "P"}'}]}
    asked: dict[str, Any] = {"model": "ours", "messages": QUESTION, "tools": TOOLS}
    try:
        async with both_faces(PeerEngine(Peer(f"127.0.0.1:{port}"), "theirs")) as faces:
            create = faces.sdk.chat.completions.create
            answer = await create(**asked, extra_body={"scripted": script})
            (choice,) = answer.choices
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Hm.")
            assert answer.model == "theirs"
            assert answer.usage is not None
            by_grpc = await faces.stub.CreateChatCompletion(
                to_request({**asked, "scripted": script}), timeout=30
            )
            assert by_grpc.choices[0].message.tool_calls[0].function.arguments == '{"city": "P"}'
            assert by_grpc.id.startswith("chatcmpl-")
            wrong = {"scripted": {"tokens": "many"}}
            with pytest.raises(openai.BadRequestError) as refused:
                await create(**asked, extra_body=wrong)
            assert refused.value.param == "scripted.tokens"
            assert refused.value.code == "invalid_value"
            failing = {"scripted": {"fail": "RATE_LIMIT_EXCEEDED"}}
            with pytest.raises(openai.RateLimitError) as limited:
                await create(**asked, extra_body=failing)
            assert limited.value.response.headers["Retry-After"] == "1"
        assert theirs.active == 0
    finally:
        await server.stop(0)
        await models.close()
