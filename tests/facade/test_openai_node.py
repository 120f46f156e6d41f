"""OpenAI's SDK for JavaScript, unmodified, against the façade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance.ways import KEY, open_sdk
from serving_process import serving

from . import node_sdk
from .agent import Agent


@pytest.fixture(scope="session")
def home() -> Path:
    return node_sdk.fetch()


async def played(home: Path, scenario: str, engine: Agent | None = None) -> Any:
    """What the SDK made of the scenario in node/sdk.mjs."""
    async with open_sdk("sdk, in-process", engine=engine or Agent()) as way:
        return await node_sdk.run(home, scenario, str(way.sdk.base_url), KEY)


async def test_a_completion(home: Path) -> None:
    result = await played(home, "create")
    answer = result["answer"]
    assert result["request_id"].startswith("req_")
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["Grüße 🙂"] * 2
    assert answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["token"] == "Grüße"
    assert answer["usage"]["total_tokens"] == 6


async def test_a_stream(home: Path) -> None:
    *chunks, last = await played(home, "stream")
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(pieces) == "one two three"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 3)


async def test_the_stream_helper(home: Path) -> None:
    result = await played(home, "helper")
    assert result["events"][:3] == [
        ["one", "one"],
        [" two", "one two"],
        [" three", "one two three"],
    ]
    choices = result["completion"]["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["one two three"] * 2
    assert [choice["message"]["role"] for choice in choices] == ["assistant"] * 2
    assert result["completion"]["usage"]["completion_tokens"] == 6


async def test_events_of_tool_calls(home: Path) -> None:
    result = await played(home, "toolEvents")
    cities = ['{"city":"Paris"}', '{"city":"Rome"}']
    assert [event["arguments"] for event in result["done"]] == cities
    for index, arguments in enumerate(cities):
        pieces = [event for event in result["pieces"] if event["index"] == index]
        assert "".join(event["arguments_delta"] for event in pieces) == arguments
    [choice] = result["completion"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["id"] for call in choice["message"]["tool_calls"]] == [
        "call_scripted_0_0",
        "call_scripted_0_1",
    ]


async def test_tools_are_run_and_their_results_sent_back(home: Path) -> None:
    engine = Agent()
    result = await played(home, "runTools", engine)
    assert result["answers"] == ["sun in Paris, sun in Rome"] * 2
    assert sorted(result["asked"]) == ["Paris", "Paris", "Rome", "Rome"]
    replays = [request for request in engine.requests if len(request.messages) > 1]
    assert len(replays) == 2
    for request in replays:
        _, answer, *results = request.messages
        assert [call.id for call in answer.tool_calls] == [one.tool_call_id for one in results]


async def test_a_structured_answer(home: Path) -> None:
    assert await played(home, "parse") == {"city": "Paris"}


async def test_errors(home: Path) -> None:
    errors = await played(home, "errors")
    seen = {
        name: (error["name"], error.get("status"), error["code"]) for name, error in errors.items()
    }
    assert seen == {
        "invalid": ("BadRequestError", 400, "invalid_value"),
        "key": ("AuthenticationError", 401, "invalid_api_key"),
        "model": ("NotFoundError", 404, "model_not_found"),
        "rate": ("RateLimitError", 429, "rate_limit_exceeded"),
        "lost": ("InternalServerError", 503, "engine_lost"),
        "midway": ("APIError", None, "engine_lost"),
    }
    assert errors["invalid"]["param"] == "temperature"
    assert "'temperature'" in errors["invalid"]["message"]
    assert all(error["requestID"] for name, error in errors.items() if name != "midway")


async def test_an_aborted_stream_frees_the_model(home: Path) -> None:
    engine = Agent()
    async with open_sdk("sdk, in-process", engine=engine) as way:
        result = await node_sdk.run(home, "abort", str(way.sdk.base_url), KEY)
        assert result == {"aborted": True}
        await engine.ended.wait()
        assert engine.active == 0


async def test_models(home: Path) -> None:
    result = await played(home, "models")
    assert result["listed"] == [result["one"]]
    assert result["one"]["id"] == "scripted"


async def test_stored_completions(home: Path, tmp_path: Path) -> None:
    """Two pages of them; the metadata that filters them needs escaping."""
    state = ("--state", str(tmp_path))
    async with serving("--model", "scripted", *state) as server:
        seen = await node_sdk.run(home, "stored", server.http, server.key)
    first, *_ = seen["made"]
    assert seen["listed"] == seen["made"]
    assert seen["none"] == []
    assert [(one["role"], one["content"]) for one in seen["messages"]] == [("user", "first")]
    assert seen["updated"] == seen["retrieved"]["metadata"] == {"topic": "new"}
    assert seen["retrieved"]["choices"][0]["message"]["content"] == "first"
    assert seen["deleted"] == {"id": first, "object": "chat.completion.deleted", "deleted": True}
    assert (seen["gone"]["name"], seen["gone"]["code"]) == ("NotFoundError", "not_found")
