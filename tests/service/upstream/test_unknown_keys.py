"""Keys that the contract does not know: each goes with the chunk of what it stood beside."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diglot.burst import chunks_of
from diglot.service import errors
from diglot.service.embedded.llama import LlamaChunkReader
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.v1.chat_pb2 import CreateChatCompletionRequest, StreamOptions
from diglot.v1.chunk_pb2 import ChatCompletionChunk

ASKED = CreateChatCompletionRequest(model="m")
WITH_USAGE = CreateChatCompletionRequest(stream_options=StreamOptions(include_usage=True))
SPENT = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def event(delta: dict[str, Any] | None, finish: str | None = None, **beside: Any) -> dict[str, Any]:
    """Of one choice; `beside` the delta."""
    choice = {"index": 0, "finish_reason": finish} | beside
    return {"choices": [choice if delta is None else {**choice, "delta": delta}]}


HI, END = event({"content": "hi"}), event({}, "stop")


def read(*events: dict[str, Any], reader: ChunkReader | None = None) -> list[ChatCompletionChunk]:
    reader = reader or ChunkReader(ASKED)
    data = [json.dumps(one).encode() for one in events]
    return [*chunks_of([*reader.read(data), *reader.end()])]


def extras(chunk: ChatCompletionChunk) -> tuple[Any, Any, Any]:
    """What stands beside a chunk's, its choice's and its delta's own keys."""
    choice = chunk.choices[0] if chunk.choices else None
    texts = (
        chunk.extra_json,
        choice.extra_json if choice else "",
        choice.delta.extra_json if choice else "",
    )
    return tuple(json.loads(text) if text else None for text in texts)  # type: ignore[return-value]


def kind(chunk: ChatCompletionChunk) -> str:
    if not chunk.choices:
        return "usage"
    (choice,) = chunk.choices
    said = [field.name for field, _ in choice.delta.ListFields() if field.name != "extra_json"]
    return "finish" if choice.HasField("finish_reason") else said[0] if said else "nothing"


def carried(chunks: list[ChatCompletionChunk]) -> list[tuple[str, Any, Any, Any]]:
    """The chunks that carry any."""
    found = [(kind(chunk), *extras(chunk)) for chunk in chunks]
    return [one for one in found if any(one[1:])]


X: dict[str, Any] = {"x": 1}
Y: dict[str, Any] = {"y": {"deep": [None, "é"]}}
Z: dict[str, Any] = {"z": [1]}

ROWS: dict[str, tuple[list[dict[str, Any]], list[tuple[str, Any, Any, Any]]]] = {
    "beside text": (
        [HI, event({"content": "x", **X}, **Y) | Z, END],
        [("content", Z, Y, X)],
    ),
    "beside the end: the delta's and the choice's there, too": (
        [HI, event({**X}, "stop", **Y) | Z],
        [("finish", Z, Y, X)],
    ),
    "beside text and the end at once: the choice's with the reason": (
        [HI, event({"content": "x", **X}, "stop", **Y) | Z],
        [("content", Z, None, X), ("finish", None, Y, None)],
    ),
    "beside nothing: a chunk of their own": (
        [HI, event({"content": None, **X}, **Y), END],
        [("nothing", None, Y, X)],
    ),
    "after the end: before it": (
        [HI, END, event(None, **Y)],
        [("nothing", None, Y, None)],
    ),
    "before anything is said: with what is said first": (
        [event({"role": "assistant", "content": "", **X}, **Y) | Z, event({"content": "x", **Z})],
        [("role", Z, None, None), ("content", None, Y, {**X, **Z})],
    ),
    "an event of nothing else": (
        [{"choices": [], **X}, {**Z}, HI, END],
        [("role", {**X, **Z}, None, None)],
    ),
    "beside a call": (
        [event({"tool_calls": [{"index": 0, "function": {"name": "f"}}], **X}, **Y), END],
        [("tool_calls", None, Y, X)],
    ),
    "beside a call that cannot be told of yet": (
        [event({"tool_calls": [{"index": 0, "id": "c"}], **X}, **Y), END],
        [("nothing", None, Y, X)],
    ),
    "null": (
        [event({"content": "x", "x": None}, y=None) | {"z": None}, END],
        [],
    ),
    "padding": (
        [HI | {"p": "abc", "obfuscation": "def"}, END],
        [],
    ),
    "the text twice": (
        [event({"content": "hi"}, text="hi"), event({}, "stop", text="")],
        [("finish", None, {"text": ""}, None)],
    ),
    "numbers that JSON cannot write": (
        [event({"content": "x", "x": float("nan"), "y": [float("-inf"), 2**70]}), END],
        [("content", None, None, {"x": None, "y": [None, 2**70]})],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS.keys())
def test_unknown_keys(
    events: list[dict[str, Any]], expected: list[tuple[str, Any, Any, Any]]
) -> None:
    if not any(choice["finish_reason"] for one in events for choice in one.get("choices", ())):
        events = [*events, END]
    assert carried(read(*events)) == expected


@pytest.mark.parametrize("asked", [ASKED, WITH_USAGE], ids=["usage unasked", "usage asked for"])
@pytest.mark.parametrize("usage", [{}, {"usage": SPENT}], ids=["no usage", "usage"])
def test_what_comes_last_comes_with_the_usage_if_that_is_asked_for(
    asked: CreateChatCompletionRequest, usage: dict[str, Any]
) -> None:
    """Else it would be lost: who did not ask for a usage gets no such chunk."""
    chunks = read(HI, END, {"choices": [], "timings": X, **usage}, reader=ChunkReader(asked))
    expected = "usage" if usage and asked is WITH_USAGE else "nothing"
    assert carried(chunks) == [(expected, {"timings": X}, None, None)]
    assert kind(chunks[-1]) == ("usage" if usage else "finish")


def test_each_choice_has_its_own() -> None:
    events: list[dict[str, Any]] = [
        {"choices": [{"index": index, "delta": {"content": "x"}, "y": index} for index in (0, 1)]},
        {"choices": [{"index": index, "delta": {}, "finish_reason": "stop"} for index in (0, 1)]},
    ]
    found = {
        chunk.choices[0].index: extras(chunk)[1]
        for chunk in read(*events)
        if chunk.choices and any(extras(chunk))
    }
    assert found == {0: {"y": 0}, 1: {"y": 1}}


def test_those_of_calls() -> None:
    signed = {"google": {"thought_signature": "EjQ="}}
    events = [
        event({"tool_calls": [{"index": 0, "id": "c", "extra_content": signed}]}),
        event({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{", "x": 1}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        event({"tool_calls": [{"index": 0, "extra_content": None, "y": 1}]}),
        END,
    ]
    pieces = [
        call for chunk in read(*events) for one in chunk.choices for call in one.delta.tool_calls
    ]
    found = [(one.extra_json, one.function.arguments, one.function.extra_json) for one in pieces]
    assert [(one.id, one.function.name) for one in pieces] == [("c", "f"), *[("", "")] * 3]
    assert json.loads(found[0][0]) == {"extra_content": signed}
    assert found[0][1:] == ("", '{"x":1}')
    assert found[1:] == [("", "{", ""), ("", "}", ""), ('{"y":1}', "", "")]


def test_those_of_tokens() -> None:
    likely = {"token": "h", "logprob": -1.0, "id": 1}
    token = {"token": "hi", "logprob": 0.0, "id": 2, "x": None, "top_logprobs": [likely]}
    asked = CreateChatCompletionRequest(logprobs=True, top_logprobs=1)
    said = event({"content": "hi"}, logprobs={"content": [token]})

    def told(reader: ChunkReader) -> list[str]:
        [entry] = read(said, END, reader=reader)[1].choices[0].logprobs.content
        return [entry.extra_json, entry.top_logprobs[0].extra_json]

    assert told(ChunkReader(asked)) == ['{"id":2}', '{"id":1}']
    assert told(LlamaChunkReader(asked, "m")) == ["", ""]


@pytest.mark.parametrize(
    "waiting",
    [{"choices": [], "x": ["x" * 1000]}, event({"role": "assistant", "x": ["x" * 1000]})],
    ids=["an event's", "a delta's"],
)
def test_what_waits_is_bounded(waiting: dict[str, Any]) -> None:
    reader = ChunkReader(ASKED)
    data = json.dumps(waiting).encode()
    with pytest.raises(errors.UpstreamInvalid):
        assert not [*reader.read([data] * 2000)]


def test_what_waits_goes_with_the_next_chunk_though_that_is_like_those_before() -> None:
    chunks = read(HI, HI, {"choices": [], "x": 1}, HI, HI, END)
    assert [chunk.extra_json for chunk in chunks] == ["", "", "", '{"x":1}', "", ""]


def test_a_long_answer_that_says_something_beside_every_token_is_none_of_that() -> None:
    events = [event({"content": "x"}, y=["y" * 1000]) | {"z": "z" * 1000}] * 2000
    assert len(carried(read(*events, END))) == 2001  # the opening carries one, too


def test_llama_cpp_is_asked_for_more_than_it_shall_say() -> None:
    events = [event({"content": "hi"}) | {"timings": {"predicted_n": 1}, "__verbose": {}}, END]
    assert carried(read(*events, reader=LlamaChunkReader(ASKED, "m"))) == []
