"""What OpenAI's SDK builds upon the API: parsed answers, tools, events, raw responses.

Strict: an answer that does not have the shape of the SDK's own types fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from conformance.ways import KEY, BySdk, open_sdk
from openai import OpenAI
from pydantic import BaseModel

from .agent import Agent


class Place(BaseModel):
    city: str
    country: str


class Weather(BaseModel):
    """The weather in a city."""

    city: str


PARIS = '{"city": "Paris", "country": "France"}'
ASK: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "where?"}]}
TOOLS = [openai.pydantic_function_tool(Weather, name="weather")]
CALLS = [
    {"name": "weather", "arguments": '{"city":"Paris"}'},
    {"name": "weather", "arguments": '{"city":"Rome"}'},
]


def saying(**script: Any) -> dict[str, Any]:
    return {**ASK, "extra_body": {"scripted": script}}


def sync(way: BySdk) -> OpenAI:
    return OpenAI(
        api_key=KEY,
        base_url=way.sdk.base_url,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=False),
        _strict_response_validation=True,
    )


async def in_thread(ask: Callable[[OpenAI], Any]) -> Any:
    """What the synchronous client gives; the server runs beside it."""
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        with sync(way) as sdk:
            return await asyncio.to_thread(ask, sdk)


async def test_an_answer_is_parsed() -> None:
    engine = Agent()
    async with open_sdk("sdk, in-process", engine=engine) as way:
        answer = await way.sdk.chat.completions.parse(
            **saying(content=PARIS), response_format=Place
        )
    assert answer.choices[0].message.parsed == Place(city="Paris", country="France")
    asked = engine.requests[0].response_format.json_schema
    assert (asked.name, asked.strict) == ("Place", True)
    assert list(json.loads(asked.schema_json)["properties"]) == ["city", "country"]


async def test_an_answer_is_parsed_synchronously() -> None:
    answer = await in_thread(
        lambda sdk: sdk.chat.completions.parse(**saying(content=PARIS), response_format=Place)
    )
    assert answer.choices[0].message.parsed == Place(city="Paris", country="France")


async def test_a_refusal_is_not_parsed() -> None:
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        answer = await way.sdk.chat.completions.parse(
            **saying(refusal="I would rather not."), response_format=Place
        )
    assert answer.choices[0].message.parsed is None
    assert answer.choices[0].message.refusal == "I would rather not."


async def test_an_answer_that_was_cut_is_not_taken_for_whole() -> None:
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        with pytest.raises(openai.LengthFinishReasonError):
            await way.sdk.chat.completions.parse(
                **saying(content=PARIS), response_format=Place, max_completion_tokens=2
            )


async def test_arguments_of_tools_are_parsed() -> None:
    engine = Agent()
    async with open_sdk("sdk, in-process", engine=engine) as way:
        answer = await way.sdk.chat.completions.parse(**saying(tool_calls=CALLS), tools=TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.parsed_arguments for call in calls] == [
        Weather(city="Paris"),
        Weather(city="Rome"),
    ]
    assert engine.requests[0].tools[0].function.strict is True


async def test_results_of_tools_are_sent_back() -> None:
    """The parsed message, as the SDK keeps it, is a message of the next request."""
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        asked = saying(tool_calls=CALLS)
        answer = await way.sdk.chat.completions.parse(**asked, tools=TOOLS)
        message = answer.choices[0].message
        assert message.tool_calls is not None
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": f"sun {number}"}
            for number, call in enumerate(message.tool_calls)
        ]
        asked["messages"] = [*asked["messages"], message, *results]
        answer = await way.sdk.chat.completions.parse(**asked, tools=TOOLS)
    assert answer.choices[0].message.content == "sun 0, sun 1"


async def test_a_stream_is_parsed() -> None:
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        asked = saying(content=PARIS)
        async with way.sdk.chat.completions.stream(
            **asked, response_format=Place, stream_options={"include_usage": True}
        ) as stream:
            events = [event async for event in stream]
            answer = await stream.get_final_completion()
    deltas = [event.delta for event in events if event.type == "content.delta"]
    assert "".join(deltas) == PARIS
    [done] = [event for event in events if event.type == "content.done"]
    assert done.parsed == Place(city="Paris", country="France")
    assert answer.choices[0].message.parsed == done.parsed
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


async def test_a_stream_is_parsed_synchronously() -> None:
    def ask(sdk: OpenAI) -> tuple[str, Any]:
        asked = saying(content=PARIS)
        with sdk.chat.completions.stream(**asked, response_format=Place) as stream:
            text = "".join(event.delta for event in stream if event.type == "content.delta")
            return text, stream.get_final_completion().choices[0].message.parsed

    assert await in_thread(ask) == (PARIS, Place(city="Paris", country="France"))


async def test_a_stream_has_events_of_tool_calls() -> None:
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        asked = saying(tool_calls=CALLS)
        async with way.sdk.chat.completions.stream(**asked, tools=TOOLS) as stream:
            events = [event async for event in stream]
            answer = await stream.get_final_completion()
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [(one.index, one.name, one.parsed_arguments) for one in done] == [
        (0, "weather", Weather(city="Paris")),
        (1, "weather", Weather(city="Rome")),
    ]
    for number, call in enumerate(CALLS):
        pieces = [
            event.arguments_delta
            for event in events
            if event.type == "tool_calls.function.arguments.delta" and event.index == number
        ]
        assert "".join(pieces) == call["arguments"]
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_a_stream_has_events_of_probabilities_and_refusals() -> None:
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        seen = []
        for script in ({"content": "yes sir"}, {"refusal": "no sir"}):
            async with way.sdk.chat.completions.stream(**saying(**script), logprobs=True) as stream:
                seen += [event.type async for event in stream if event.type.endswith(".done")]
    assert seen == [
        "content.done",
        "logprobs.content.done",
        "refusal.done",
        "logprobs.refusal.done",
    ]


async def test_a_raw_response() -> None:
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        raw = await way.sdk.chat.completions.with_raw_response.create(
            **ASK, extra_headers={"X-Request-ID": "mine"}
        )
    assert raw.headers["x-request-id"] == "mine"
    assert raw.headers["content-type"] == "application/json"
    answer = raw.parse()
    assert answer.choices[0].message.content == "where?"
    assert answer._request_id == "mine"


async def test_a_raw_stream() -> None:
    async with (
        open_sdk("sdk, in-process", engine=Agent()) as way,
        way.sdk.chat.completions.with_streaming_response.create(**ASK, stream=True) as raw,
    ):
        assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = [line async for line in raw.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)


async def test_a_raw_error() -> None:
    async with open_sdk("sdk, in-process", engine=Agent()) as way:
        with pytest.raises(openai.BadRequestError) as caught:
            await way.sdk.chat.completions.with_raw_response.create(**ASK, temperature=3)
    assert caught.value.body == {
        "message": "Invalid value for 'temperature': expected a number from 0 to 2, but got 3.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "invalid_value",
    }
