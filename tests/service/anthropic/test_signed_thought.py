"""What the model thought, signed: answers bring it, and the next request takes it back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conformance.ways import to_request
from messages_requests import ASKED, CALL, HI, Json, check_that_it_becomes, translated
from messages_server import block, sse, start, stopped, text, thinking, tool_use

from diglot.service import errors
from diglot.service.anthropic import Options
from diglot.service.anthropic.event_reader import MessageReader
from diglot.service.anthropic.request_json import to_json
from diglot.service.fold import Fold
from diglot.service.upstream.sse import EventReader
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

SIGNED: Json = {"type": "thinking", "thinking": "Hmm.", "signature": "EqQBCgIYAhIM"}
SILENT: Json = {**SIGNED, "thinking": ""}
REDACTED: Json = {"type": "redacted_thinking", "data": "Eo8B"}
RESULT: Json = {"role": "tool", "tool_call_id": "c1", "content": "1"}
BUDGET = Options(100, "budget")


def read(*events: Json) -> list[ChatCompletionChunk]:
    reader = MessageReader(CreateChatCompletionRequest())
    return [*reader.read(EventReader().feed(sse(*events))), *reader.end()]


def brought(chunks: list[ChatCompletionChunk]) -> list[Any]:
    """What the deltas have of thought."""
    found: list[Any] = []
    for chunk in chunks:
        for choice in chunk.choices:
            if choice.delta.HasField("reasoning_content"):
                found.append(choice.delta.reasoning_content)
            if choice.delta.HasField("extra_json"):
                found.append(json.loads(choice.delta.extra_json))
    return found


def folded(chunks: list[ChatCompletionChunk]) -> Any:
    fold = Fold()
    for chunk in chunks:
        fold.add([chunk])
    return json.loads(fold.completion().choices[0].message.extra_json or "{}")


def test_its_text_comes_as_it_is_thought_and_the_blocks_at_the_end_in_one_delta() -> None:
    """OpenAI's SDK adds up a list of objects only if it comes in one piece."""
    chunks = read(
        start(),
        *thinking(0, "Hm", "m."),
        *block(1, REDACTED),
        *text(2, "Let me see."),
        *thinking(3),
        *tool_use(4, "t", "f", "{}"),
        *stopped("tool_use"),
    )
    blocks = {
        "thinking_blocks": [SIGNED, REDACTED, SILENT],
        "thinking_places": [[0, 0], [0, 0], [11, 0]],
    }
    assert brought(chunks) == ["Hm", "m.", blocks]
    assert folded(chunks) == blocks


def test_a_signature_may_come_in_pieces_or_with_the_first_event() -> None:
    pieces = [{"type": "signature_delta", "signature": piece} for piece in ("EqQBCg", "IYAhIM")]
    begun = {"type": "thinking", "thinking": "", "signature": ""}
    assert folded(read(*block(0, begun, *pieces), *stopped("end_turn"))) == {
        "thinking_blocks": [SILENT]
    }
    assert folded(read(*block(0, SIGNED), *stopped("end_turn"))) == {"thinking_blocks": [SIGNED]}


@pytest.mark.parametrize(
    "events",
    [
        block(0, {"type": "thinking", "thinking": "Hmm.", "signature": ""}),
        thinking(0, "Hmm.")[:-1],
        block(0, {"type": "redacted_thinking", "data": ""}),
    ],
    ids=["unsigned", "cut", "empty"],
)
def test_what_the_api_would_not_take_back_is_not_offered(events: list[Json]) -> None:
    assert folded(read(start(), *events, *stopped("max_tokens"))) == {}


def test_after_its_end_no_block_comes() -> None:
    chunks = read(start(), *stopped("end_turn"), *block(0, REDACTED))
    assert brought(chunks) == []


def test_it_is_sent_back_unchanged_and_first() -> None:
    """Also where the request does not say how much to think: many models think unasked."""
    called = {**CALL, "content": "Let me see.", "thinking_blocks": [SIGNED, REDACTED, SILENT]}
    check_that_it_becomes(
        {"messages": [HI, called, RESULT]},
        {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": [
                        SIGNED,
                        REDACTED,
                        SILENT,
                        {"type": "text", "text": "Let me see."},
                        {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
                        {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [{"type": "text", "text": "1"}],
                        }
                    ],
                },
            ]
        },
    )


X: Json = {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}
Y: Json = {"type": "tool_use", "id": "c2", "name": "g", "input": {}}


def said(words: str) -> Json:
    return {"type": "text", "text": words}


@pytest.mark.parametrize(
    "blocks",
    [
        [SIGNED, said("aä"), SILENT, said("b"), REDACTED, X, Y],
        [SIGNED, X, REDACTED, Y],
        [said("😀"), SIGNED, REDACTED, said("b"), X, SILENT, Y],
    ],
)
def test_thought_amid_the_answer_goes_back_to_where_it_stood(blocks: list[Json]) -> None:
    """From the events to the next request: the API refuses blocks that have moved."""
    events = []
    for index, each in enumerate(blocks):
        if each["type"] == "text":
            events += text(index, *each["text"])
        elif each["type"] == "tool_use":
            events += tool_use(index, each["id"], each["name"], json.dumps(each["input"]))
        else:
            events += block(index, each)
    fold = Fold()
    for chunk in read(start(), *events, *stopped("tool_use")):
        fold.add([chunk])
    request = to_request({"model": "m", "messages": [HI, HI]})
    request.messages[1].CopyFrom(fold.completion().choices[0].message)
    body = to_json(request, "claude", Options())
    assert body["messages"][1]["content"] == blocks


@pytest.mark.parametrize("content", ["", None])
def test_thought_that_came_to_nothing_is_no_turn(content: str | None) -> None:
    """As where a limit cut it off: the API refuses a message that ends in thought."""
    cut = {"role": "assistant", "content": content, "tool_calls": [], "thinking_blocks": [SIGNED]}
    assert translated({"messages": [HI, cut, HI]})["messages"] == [
        {"role": "user", "content": [said("hi"), said("hi")]}
    ]


def test_thought_behind_the_rest_of_an_answer_is_left_out() -> None:
    shortened = {
        "role": "assistant",
        "content": "ab",
        "thinking_blocks": [SIGNED, SILENT, REDACTED],
        "thinking_places": [[0, 0], [100, 0], [0, 3]],
    }
    body = translated({"messages": [HI, shortened]})
    assert body["messages"][1]["content"] == [SIGNED, said("ab")]


@pytest.mark.parametrize("places", [[], [[0, 0], [0, 0]], [0], [[0]], [[0, -1]], [[0, True]], {}])
def test_places_that_no_answer_had_are_refused(places: Any) -> None:
    called = {**CALL, "thinking_blocks": [SIGNED], "thinking_places": places}
    with pytest.raises(errors.InvalidValue) as refused:
        translated({"messages": [HI, called, RESULT]})
    assert refused.value.field == "messages[1].extra_json.thinking_places"


THOUGHT_OF_BEFORE = [HI, {"role": "assistant", "content": "Ho", "thinking_blocks": [SIGNED]}, HI]


@pytest.mark.parametrize(
    ("asked", "options", "comes_along"),
    [
        ({"reasoning_effort": "low"}, Options(), True),
        ({"reasoning_effort": "none"}, Options(), False),
        ({"thinking": {"type": "disabled"}}, Options(), False),
        ({"reasoning_effort": "low"}, BUDGET, True),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, BUDGET, True),
        ({}, BUDGET, False),
    ],
)
def test_it_comes_along_unless_thinking_is_off(
    asked: Json, options: Options, comes_along: bool
) -> None:
    """Models that think within a budget think only when asked to."""
    body = translated({"messages": THOUGHT_OF_BEFORE, **asked}, options)
    assert body["messages"][1]["content"] == [*([SIGNED] if comes_along else []), said("Ho")]


def test_between_calls_a_budget_is_spent_only_if_the_turn_began_with_thought() -> None:
    """To the API, calls in a row are one turn; those after the first come without thought."""
    thought, effort = {**CALL, "thinking_blocks": [SIGNED]}, {"reasoning_effort": "high"}

    def thinks(*messages: Json) -> bool:
        return "thinking" in translated({"messages": [*messages], **effort}, BUDGET)

    assert thinks(HI, thought, RESULT)
    assert thinks(HI, thought, RESULT, CALL, RESULT)
    assert not thinks(HI, CALL, RESULT, thought, RESULT)
    assert not thinks(HI, thought, RESULT, {"role": "assistant", "content": "1"}, HI, CALL, RESULT)
    assert not thinks(HI, {**CALL, "thinking_blocks": []}, RESULT)


def test_without_thought_a_turn_within_a_budget_takes_none_along() -> None:
    """Thinking is off for it, so what was thought before would be refused, or lost."""
    messages = [*THOUGHT_OF_BEFORE, CALL, RESULT]
    body = translated({"messages": messages, "reasoning_effort": "high"}, BUDGET)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Ho"}]


@pytest.mark.parametrize("role", ["user", "system"])
def test_only_the_model_has_thought(role: str) -> None:
    noted = {"role": role, "content": "hi", "thinking_blocks": [SIGNED]}
    body = translated({"messages": [noted, HI]})
    assert "thinking" not in json.dumps(body)


@pytest.mark.parametrize(
    ("blocks", "place"),
    [
        ("Hmm.", ""),
        (SIGNED, ""),
        (["Hmm."], "[0]"),
        ([SIGNED, {"type": "thinking", "thinking": "Hmm."}], "[1]"),
        ([{**SIGNED, "signature": 1}], "[0]"),
        ([{"type": "redacted_thinking"}], "[0]"),
        ([{**REDACTED, "type": "text"}], "[0]"),
        ([{**REDACTED, "type": []}], "[0]"),
    ],
)
@pytest.mark.parametrize("options", [Options(), BUDGET])
def test_what_no_answer_had_is_refused(blocks: Any, place: str, options: Options) -> None:
    called = {**CALL, "thinking_blocks": blocks}
    with pytest.raises(errors.InvalidValue) as refused:
        translated({"messages": [HI, called, RESULT], "reasoning_effort": "low"}, options)
    assert refused.value.field == f"messages[1].extra_json.thinking_blocks{place}"
    assert "Hmm." not in refused.value.message


def test_nothing_is_no_thought() -> None:
    body = translated({"messages": [HI, {**CALL, "thinking_blocks": None}, RESULT]})
    assert body["messages"][1]["content"][0]["type"] == "tool_use"
