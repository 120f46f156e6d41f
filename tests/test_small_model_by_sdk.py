"""The real model, 135 million parameters small, asked by the SDKs' helpers like OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import openai
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import BaseModel, Field, SecretStr
from service.test_embedded import embedded

from diglot.facade import FacadeOptions, HttpServer, build_app
from diglot.service.entrance import NoKeys
from diglot.service.inprocess import InProcessChannel
from diglot.service.models import Models

ASK: Any = {
    "model": "small",
    "messages": [{"role": "user", "content": "I want to see Paris for three days."}],
    "seed": 3,
}


class Stop(BaseModel):
    city: str
    means: Literal["train", "boat"]


class Journey(BaseModel):
    days: int
    stops: list[Stop] = Field(max_length=2)


@tool
def book(city: str, days: int) -> str:
    """Books a room."""
    return f"{days} days in {city}"


@asynccontextmanager
async def served(model_path: Path) -> AsyncIterator[AsyncOpenAI]:
    async with embedded(model_path) as (chat, _):
        app = build_app(
            InProcessChannel(chat, Models([]), NoKeys()), FacadeOptions(require_key=False)
        )
        server = HttpServer(app, "127.0.0.1", 0)
        await server.start()
        try:
            async with AsyncOpenAI(
                api_key="none",
                base_url=f"http://{server.address}/v1",
                max_retries=0,
                # There is no TLS to verify, and reading certificates takes longer than a test.
                http_client=openai.DefaultAsyncHttpxClient(verify=False),
                _strict_response_validation=True,
            ) as sdk:
                yield sdk
        finally:
            await server.stop(0)


async def test_helpers(model_path: Path) -> None:
    """One model for several looks at it: loading takes its time."""
    async with served(model_path) as sdk:
        await _parsed_answers(sdk)
        await _parsed_calls(sdk)
        await _streamed(sdk)
        await _by_langchain(sdk)


async def _parsed_answers(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.parse(**ASK, response_format=Journey)
    assert isinstance(answer.choices[0].message.parsed, Journey)


async def _parsed_calls(sdk: AsyncOpenAI) -> None:
    tools = [openai.pydantic_function_tool(Journey, name="plan")]
    answer = await sdk.chat.completions.parse(
        **ASK, tools=tools, tool_choice="required", parallel_tool_calls=False
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert all(isinstance(call.function.parsed_arguments, Journey) for call in calls)


async def _streamed(sdk: AsyncOpenAI) -> None:
    async with sdk.chat.completions.stream(**ASK, response_format=Journey) as events:
        kinds = {event.type async for event in events}
        final = await events.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    assert isinstance(final.choices[0].message.parsed, Journey)


async def _by_langchain(sdk: AsyncOpenAI) -> None:
    with openai.DefaultHttpxClient(verify=False) as http:
        async with openai.DefaultAsyncHttpxClient(verify=False) as http_async:
            chat = ChatOpenAI(
                model="small",
                base_url=str(sdk.base_url),
                api_key=SecretStr("none"),
                max_retries=0,
                http_client=http,
                http_async_client=http_async,
            )
            by_call = chat.with_structured_output(Journey, method="function_calling")
            assert isinstance(await by_call.ainvoke("Three days in Paris."), Journey)
            message = await chat.bind_tools([book], tool_choice="any").ainvoke("A room in Rome.")
    assert message.tool_calls
    assert not message.invalid_tool_calls
    assert {call["name"] for call in message.tool_calls} == {"book"}
