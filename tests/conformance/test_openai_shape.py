"""What OpenAI's clients stumble over: where null, an empty list and no key differ.

Seen through OpenAI's own SDK, which keeps what was on the wire in `model_fields_set`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from . import plain
from .scenarios import BOTH, SCENARIOS, STREAMED, Scenario, case_id
from .ways import SDK_NAMES, arguments, open_sdk

over_http = pytest.mark.parametrize("name", SDK_NAMES)
streamed = pytest.mark.parametrize("scenario", SCENARIOS, ids=case_id)

assert all(STREAMED in scenario.modes for scenario in SCENARIOS)


@over_http
@pytest.mark.parametrize(
    "scenario", [scenario for scenario in SCENARIOS if scenario.modes == BOTH], ids=case_id
)
async def test_a_completion_has_the_keys_of_openais(name: str, scenario: Scenario) -> None:
    async with open_sdk(name) as way:
        answer = await way.sdk.chat.completions.create(**arguments(scenario.body))
    assert isinstance(answer, ChatCompletion)
    assert answer._request_id
    assert answer._request_id.startswith("req_")
    assert {"usage", "system_fingerprint"} <= answer.model_fields_set
    for choice in answer.choices:
        message = choice.message
        assert "logprobs" in choice.model_fields_set
        assert {"content", "refusal", "annotations"} <= message.model_fields_set
        assert message.annotations == []
        # Some clients ask whether there is a list, others whether it is empty (#23).
        assert ("tool_calls" in message.model_fields_set) == bool(message.tool_calls)
        if choice.logprobs is not None:
            assert choice.logprobs.model_fields_set == {"content", "refusal"}
            assert all(
                entry.top_logprobs is not None
                for entry in [*(choice.logprobs.content or ()), *(choice.logprobs.refusal or ())]
            )


@over_http
@streamed
async def test_a_stream_keeps_the_rules(name: str, scenario: Scenario) -> None:
    async with open_sdk(name) as way:
        asked: dict[str, Any] = {**arguments(scenario.body), "stream": True}
        async with await way.sdk.chat.completions.create(**asked) as stream:
            content_type = stream.response.headers["content-type"]
            chunks = [chunk async for chunk in stream]
    assert content_type == "text/event-stream; charset=utf-8"
    check_choices(chunks)
    check_tool_calls(chunks)
    for chunk in chunks:
        assert not {"error", "metadata"} & {*chunk.model_fields_set}
        # Null until the last where it was asked for, no key at all where not (§3).
        assert ("usage" in chunk.model_fields_set) == scenario.with_usage


def check_choices(chunks: Iterable[ChatCompletionChunk]) -> None:
    """The role once, on each choice's first chunk, in order; the finish once, on its last."""
    begun: list[int] = []
    finished: set[int] = set()
    for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            # Keys that are to be there on every chunk: null until the end (#7).
            assert {"index", "delta", "finish_reason", "logprobs"} <= choice.model_fields_set
            assert choice.index not in finished
            if choice.index in begun:
                assert "role" not in delta.model_fields_set
            else:
                begun.append(choice.index)
                assert delta.role == "assistant"
                assert {"content", "refusal"} <= delta.model_fields_set
            if choice.finish_reason is not None:
                finished.add(choice.index)
                assert delta.model_fields_set == set()
    assert begun == sorted(finished) == list(range(len(begun)))


def check_tool_calls(chunks: Iterable[ChatCompletionChunk]) -> None:
    """A header with "" for arguments, then nothing but arguments (#19 to #22)."""
    known: dict[int, int] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for piece in choice.delta.tool_calls or ():
                assert piece.function is not None
                count = known.setdefault(choice.index, 0)
                if piece.index == count:
                    known[choice.index] += 1
                    assert piece.model_fields_set == {"index", "id", "type", "function"}
                    assert piece.id
                    assert piece.type == "function"
                    assert piece.function.model_fields_set == {"name", "arguments"}
                    assert piece.function.arguments == ""
                else:
                    assert piece.index == count - 1
                    assert piece.model_fields_set == {"index", "function"}
                    assert piece.function.model_fields_set == {"arguments"}


@over_http
@streamed
async def test_the_stream_helper_puts_it_together(name: str, scenario: Scenario) -> None:
    """To the very message that the whole completion has."""
    asked = arguments(scenario.body)
    if not parses(scenario):
        # The helper raises for what it cannot parse: hidden from it, not from us.
        asked["extra_body"] |= {"tools": asked.pop("tools", [])}
    async with open_sdk(name) as way, way.sdk.chat.completions.stream(**asked) as events:
        async for _ in events:
            pass
        answer = plain.from_sdk(events.current_completion_snapshot)
    for choice, expected in zip(answer["choices"], scenario.choices, strict=True):
        for call in choice["message"].get("tool_calls", ()):
            call.pop("index")
            call["function"].pop("parsed_arguments", None)
        choice["message"].pop("parsed", None)
        assert choice == expected
    assert ("usage" in answer) == scenario.with_usage


def parses(scenario: Scenario) -> bool:
    """Whether the helper can make objects of the calls: all whole, all JSON, all of functions."""
    if any(tool["type"] == "custom" for tool in scenario.body.get("tools", ())):
        return False
    for choice in scenario.choices:
        if choice["finish_reason"] == "length":
            return False
        for call in choice["message"].get("tool_calls", ()):
            try:
                json.loads(call["function"]["arguments"])
            except ValueError:
                return False
    return True
