"""OpenAI's own client, at its strictest, against the façade."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from diglot.v1 import chunk_pb2, completion_pb2, message_pb2

from .fake import KEY, FakeService, chunk, completion, facade, first, last, status

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@asynccontextmanager
async def client(service: FakeService | None = None, **options: Any) -> AsyncIterator[AsyncOpenAI]:
    async with facade(service) as running:
        settings = {"api_key": KEY, "max_retries": 0, **options}
        async with AsyncOpenAI(
            base_url=f"{running.url}/v1", _strict_response_validation=True, **settings
        ) as sdk:
            yield sdk


async def test_a_completion() -> None:
    async with client() as sdk:
        answer = await sdk.chat.completions.create(**ASK)
        assert answer.choices[0].message.content == "hi"
        assert answer.usage
        assert answer._request_id
        assert answer._request_id.startswith("req_")


async def test_tool_calls() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> Any:
        answer = completion()
        message = answer.choices[0].message
        message.ClearField("content")
        message.tool_calls.add(id="1").function.name = "f"
        answer.choices[0].finish_reason = completion_pb2.FINISH_REASON_TOOL_CALLS
        return answer

    service.create = create
    async with client(service) as sdk:
        answer = await sdk.chat.completions.create(**ASK)
        assert answer.choices[0].message.tool_calls
        replay = [*ASK["messages"], answer.choices[0].message]
        await sdk.chat.completions.create(**{**ASK, "messages": replay})
        assert service.requests[1].messages[1].tool_calls[0].function.name == "f"


async def test_a_stream() -> None:
    async with client() as sdk:
        stream = await sdk.chat.completions.create(**ASK, stream=True)
        pieces = [piece async for piece in stream]
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "hi"


async def test_the_stream_helper_puts_everything_together() -> None:
    service = FakeService()

    async def stream(request: Any, context: Any) -> None:
        header = chunk_pb2.ToolCallDelta(id="1", function=chunk_pb2.FunctionCallDelta(name="f"))
        await context.write(chunk(role=message_pb2.ROLE_ASSISTANT, tool_calls=[header]))
        for text in ("{", "}"):
            more = chunk_pb2.FunctionCallDelta(arguments=text)
            await context.write(chunk(tool_calls=[chunk_pb2.ToolCallDelta(function=more)]))
        await context.write(last(completion_pb2.FINISH_REASON_TOOL_CALLS))
        spent = chunk_pb2.ChatCompletionChunk(id="chatcmpl-1", created=1700000000, model="m")
        spent.usage.total_tokens = 5
        await context.write(spent)

    service.stream = stream
    async with client(service) as sdk:
        async with sdk.chat.completions.stream(
            **ASK, stream_options={"include_usage": True}
        ) as events:
            async for _ in events:
                pass
            answer = await events.get_final_completion()
        assert answer.choices[0].message.role == "assistant"
        calls = answer.choices[0].message.tool_calls
        assert calls
        assert (calls[0].id, calls[0].function.name, calls[0].function.arguments) == (
            "1",
            "f",
            "{}",
        )
        assert answer.usage
        assert answer.usage.total_tokens == 5


async def test_models() -> None:
    async with client() as sdk:
        assert [model.id async for model in sdk.models.list()] == ["m"]
        assert (await sdk.models.retrieve("org/name:tag")).id == "org/name:tag"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("INVALID_VALUE", openai.BadRequestError),
        ("INVALID_API_KEY", openai.AuthenticationError),
        ("PERMISSION_DENIED", openai.PermissionDeniedError),
        ("MODEL_NOT_FOUND", openai.NotFoundError),
        ("RATE_LIMIT_EXCEEDED", openai.RateLimitError),
        ("NOT_READY", openai.InternalServerError),
        ("INTERNAL", openai.InternalServerError),
    ],
)
async def test_errors(reason: str, kind: type[openai.APIStatusError]) -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        await context.abort_with_status(status(reason, "No.", field="n"))

    service.create = create
    async with client(service) as sdk:
        with pytest.raises(kind) as caught:
            await sdk.chat.completions.create(**ASK)
        assert caught.value.param == "n"
        assert "No." in caught.value.message
        assert caught.value.request_id


async def test_an_error_in_a_stream() -> None:
    service = FakeService()

    async def stream(request: Any, context: Any) -> None:
        await context.write(first("x"))
        await context.abort_with_status(status("ENGINE_LOST", "The engine died."))

    service.stream = stream
    async with client(service) as sdk:
        answer = await sdk.chat.completions.create(**ASK, stream=True)
        with pytest.raises(openai.APIError, match=r"The engine died\.") as caught:
            _ = [piece async for piece in answer]
        assert caught.value.code == "engine_lost"


async def test_the_sdk_does_not_repeat_what_makes_no_sense() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        await context.abort_with_status(status("INTERNAL", "A bug."))

    service.create = create
    async with client(service, max_retries=2) as sdk:
        with pytest.raises(openai.InternalServerError):
            await sdk.chat.completions.create(**ASK)
        assert len(service.calls) == 1


async def test_without_a_key() -> None:
    async with client(api_key="wrong") as sdk:
        with pytest.raises(openai.AuthenticationError):
            await sdk.models.list()
