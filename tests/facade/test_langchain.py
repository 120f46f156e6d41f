"""LangChain's ChatOpenAI, unmodified, against the façade."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import openai
import pytest
from conformance.ways import KEY, open_sdk
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from .agent import Agent


class Place(BaseModel):
    """A place on Earth."""

    city: str
    country: str


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


PARIS = '{"city": "Paris", "country": "France"}'
CALLS = [
    {"name": "weather", "arguments": '{"city": "Paris"}'},
    {"name": "weather", "arguments": '{"city": "Rome"}'},
]


@asynccontextmanager
async def chat(engine: Agent | None = None, **options: Any) -> AsyncIterator[ChatOpenAI]:
    """`scripted` is the script; what else there is are ChatOpenAI's own options."""
    scripted = options.pop("scripted", None)
    if scripted is not None:
        options["extra_body"] = {"scripted": scripted}
    async with open_sdk("sdk, in-process", engine=engine or Agent()) as way:
        # Without reading the machine's certificates, which takes longer than a test.
        with openai.DefaultHttpxClient(verify=False) as http:
            async with openai.DefaultAsyncHttpxClient(verify=False) as http_async:
                yield ChatOpenAI(
                    model=options.pop("model", "scripted"),
                    base_url=str(way.sdk.base_url),
                    api_key=SecretStr(options.pop("key", KEY)),
                    max_retries=0,
                    http_client=http,
                    http_async_client=http_async,
                    **options,
                )


def joined(pieces: Iterable[Any]) -> AIMessageChunk:
    """The message that the pieces of a stream add up to."""
    whole = functools.reduce(operator.add, pieces)
    assert isinstance(whole, AIMessageChunk)
    return whole


async def test_an_answer() -> None:
    async with chat() as model:
        answer = await model.ainvoke([SystemMessage("Repeat."), HumanMessage("hello there")])
    assert answer.content == "hello there"
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (3, 2)
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.id is not None


async def test_an_answer_synchronously() -> None:
    async with chat() as model:
        answer = await asyncio.to_thread(model.invoke, "hello there")
    assert answer.content == "hello there"


async def test_a_stream() -> None:
    async with chat(stream_usage=True) as model:
        pieces = [piece async for piece in model.astream("one two three")]
    assert [piece.content for piece in pieces if piece.content] == ["one", " two", " three"]
    whole = joined(pieces)
    assert whole.content == "one two three"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 3
    assert whole.response_metadata["finish_reason"] == "stop"


async def test_a_stream_synchronously() -> None:
    async with chat() as model:
        pieces = await asyncio.to_thread(lambda: list(model.stream("one two three")))
    assert "".join(str(piece.content) for piece in pieces) == "one two three"


async def test_answers_to_several_at_once() -> None:
    async with chat() as model:
        answers = await model.abatch(["one", "two", "three"])
    assert [answer.content for answer in answers] == ["one", "two", "three"]


async def test_several_answers() -> None:
    async with chat(n=3) as model:
        result = await model.agenerate([[HumanMessage("hi")]])
    assert [one.text for one in result.generations[0]] == ["hi"] * 3


async def test_stop_words() -> None:
    async with chat() as model:
        answer = await model.ainvoke("one two three", stop=[" three"])
    assert answer.content == "one two"


async def test_tool_calls() -> None:
    engine = Agent()
    async with chat(engine, scripted={"tool_calls": CALLS}) as model:
        answer = await model.bind_tools([weather]).ainvoke("weather?")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("weather", {"city": "Paris"}),
        ("weather", {"city": "Rome"}),
    ]
    assert answer.invalid_tool_calls == []
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    assert engine.requests[0].tools[0].function.description == "The weather in a city."


async def test_streamed_tool_calls() -> None:
    async with chat(scripted={"content": "Let me look.", "tool_calls": CALLS}) as model:
        pieces = [piece async for piece in model.bind_tools([weather]).astream("weather?")]
    whole = joined(pieces)
    assert whole.content == "Let me look."
    assert [call["args"] for call in whole.tool_calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({call["id"] for call in whole.tool_calls}) == 2


@pytest.mark.parametrize("streaming", [False, True])
async def test_results_of_tools_are_sent_back(streaming: bool) -> None:
    engine = Agent()
    async with chat(engine, scripted={"tool_calls": CALLS}, streaming=streaming) as model:
        agent = model.bind_tools([weather])
        messages: list[Any] = [HumanMessage("weather?")]
        messages.append(await agent.ainvoke(messages))
        for call in messages[-1].tool_calls:
            result = await weather.ainvoke(call)
            assert isinstance(result, ToolMessage)
            messages.append(result)
        answer = await agent.ainvoke(messages)
    assert answer.content == "sun in Paris, sun in Rome"
    assert answer.tool_calls == []
    _, asked, *results = engine.requests[1].messages
    assert [call.id for call in asked.tool_calls] == [one.tool_call_id for one in results]


@pytest.mark.parametrize("choice", ["weather", "any", "none"])
async def test_the_choice_of_tools(choice: str) -> None:
    engine = Agent()
    script = {"content": "Rain."} if choice == "none" else {"tool_calls": CALLS[:1]}
    async with chat(engine, scripted=script) as model:
        answer = await model.bind_tools([weather], tool_choice=choice).ainvoke("weather?")
    assert isinstance(answer, AIMessage)
    assert len(answer.tool_calls) == (choice != "none")
    asked = engine.requests[0].tool_choice
    assert asked.WhichOneof("choice") == ("function_name" if choice == "weather" else "mode")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("strict", [None, True])
async def test_a_structured_answer(
    method: Literal["json_schema", "function_calling"], strict: bool | None
) -> None:
    engine = Agent()
    script: dict[str, Any] = {"content": PARIS}
    if method == "function_calling":
        script = {"tool_calls": [{"name": "Place", "arguments": PARIS}]}
    async with chat(engine, scripted=script) as model:
        structured = model.with_structured_output(Place, method=method, strict=strict)
        assert await structured.ainvoke("where?") == Place(city="Paris", country="France")
    request = engine.requests[0]
    assert request.HasField("response_format") == (method == "json_schema")
    assert bool(request.tools) == (method == "function_calling")


# LangChain dumps the SDK's message, whose type says nothing of what it was parsed to.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
async def test_a_streamed_structured_answer() -> None:
    async with chat(scripted={"content": PARIS}) as model:
        structured = model.with_structured_output(Place, method="json_schema")
        *_, last = [piece async for piece in structured.astream("where?")]
    assert last == Place(city="Paris", country="France")


async def test_a_json_answer() -> None:
    async with chat(scripted={"content": PARIS}) as model:
        structured = model.with_structured_output(None, method="json_mode")
        assert await structured.ainvoke("In JSON: where?") == {"city": "Paris", "country": "France"}


async def test_probabilities() -> None:
    async with chat(logprobs=True, top_logprobs=1) as model:
        answer = await model.ainvoke("one two")
    entries = answer.response_metadata["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == ["one", " two"]


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"key": "wrong"}, openai.AuthenticationError, "invalid_api_key"),
        ({"model": "none"}, openai.NotFoundError, "model_not_found"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_value"),
        ({"scripted": {"fail": "RATE_LIMIT_EXCEEDED"}}, openai.RateLimitError,
         "rate_limit_exceeded"),
        ({"scripted": {"fail": "ENGINE_LOST"}}, openai.InternalServerError, "engine_lost"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streaming", [False, True])
async def test_errors(
    options: dict[str, Any], error: type[openai.APIStatusError], code: str, streaming: bool
) -> None:
    async with chat(streaming=streaming, **options) as model:
        with pytest.raises(error) as caught:
            await model.ainvoke("hello")
    assert caught.value.code == code


async def test_an_error_in_a_stream() -> None:
    script = {"content": " x", "tokens": 5, "fail": "ENGINE_LOST", "fail_after": 2}
    async with chat(scripted=script) as model:
        with pytest.raises(openai.APIError) as caught:
            _ = [piece async for piece in model.astream("hello")]
    assert caught.value.code == "engine_lost"


async def test_leaving_a_stream_frees_the_model() -> None:
    engine = Agent()
    script = {"content": " word", "tokens": 1000, "interval_ms": 60000}
    async with chat(engine, scripted=script) as model:
        pieces = aiter(model.astream("hello"))
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]  # a generator, typed as less
        await engine.ended.wait()
        assert engine.active == 0
