"""Events that are read as the like of an earlier one come to what they would come to anyway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diglot.service.errors import ChatError
from diglot.service.upstream.alike import Alike
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk


class _InFull(ChunkReader):
    """A subclass: it reads every event in full."""


TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"', "\\", '","', '"content":"', "\n", "\x00", "é", "東京", "👩‍🚀", '"}}]', " "]
)
DELTAS: st.SearchStrategy[dict[str, Any]] = (
    st.fixed_dictionaries({"content": TEXTS})
    | st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXTS})
    | st.fixed_dictionaries({"content": TEXTS, "reasoning_content": TEXTS})
    | st.fixed_dictionaries({"role": st.none(), "content": TEXTS, "tool_calls": st.none()})
    | st.fixed_dictionaries({"content": TEXTS, "token_id": st.none() | st.integers(0, 1)})
    | st.just({})
    | st.just({"content": None})
)


@st.composite
def events(draw: st.DrawFn) -> list[bytes]:
    """A stream as one server writes it, with an odd event here and there."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    ascii_only = draw(st.booleans())
    provider = draw(st.none() | TEXTS)
    said: list[dict[str, Any]] = []
    for delta in draw(st.lists(DELTAS, min_size=1, max_size=12)):
        choice: dict[str, Any] = {
            "index": draw(st.sampled_from([0, 0, 0, 1])),
            "delta": delta,
            "finish_reason": draw(st.sampled_from([None] * 9 + ["stop"])),
        }
        if draw(st.integers(0, 3)) == 0:
            choice["text"] = draw(st.sampled_from(["a", delta.get("content")]))
        if draw(st.integers(0, 3)) == 0:
            choice["token_ids"] = draw(st.none() | st.lists(st.integers(0, 1), max_size=1))
        event: dict[str, Any] = {"id": "x", "model": "m", "choices": [choice]}
        if provider is not None:
            event["provider"] = provider
        if draw(st.integers(0, 5)) == 0:
            event["obfuscation"] = draw(TEXTS)
        if draw(st.integers(0, 5)) == 0:
            event["usage"] = {"prompt_tokens": 1, "completion_tokens": draw(st.integers(1, 9))}
        said.append(event)
    return [
        json.dumps(event, separators=separators, ensure_ascii=ascii_only).encode() for event in said
    ]


def _read(reader: ChunkReader, stream: list[bytes]) -> tuple[list[ChatCompletionChunk], Any]:
    def chunks() -> Iterator[ChatCompletionChunk]:
        for event in stream:
            yield from reader.read(event)
        yield from reader.end()

    read: list[ChatCompletionChunk] = []
    try:
        read.extend(chunks())
    except ChatError as error:
        return read, (type(error), error.message)
    return read, reader.delivered()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events())
def test_a_stream_reads_the_same_with_and_without(stream: list[bytes]) -> None:
    request = CreateChatCompletionRequest(model="m")
    assert _read(ChunkReader(request), stream) == _read(_InFull(request), stream)


def _event(text: str, padding: str = "") -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return json.dumps({"model": "m", "choices": [choice], "padding": padding}).encode()


def _learnt() -> Alike:
    alike = Alike()
    chunk = ChatCompletionChunk(model="m")
    chunk.choices.add().delta.content = "a"
    alike.learn(_event("a"), chunk)
    return alike


def test_the_second_event_is_read_as_the_like_of_the_first() -> None:
    chunk = _learnt().read(_event('say "東京"\n'))
    assert chunk is not None
    assert chunk.choices[0].delta.content == 'say "東京"\n'
    assert chunk.model == "m"


@pytest.mark.parametrize(
    "event",
    [
        b"",
        _event(""),
        _event("b", padding="x"),
        _event("b").replace(b'"b"', b'"b" "c"'),
        _event("b").replace(b'"b"', b'"b", "role": "x"'),
        _event("b").replace(b'"b"', b'"\xff"'),
        _event("b").replace(b'"b"', b'"\\"'),
        _event("b").replace(b'"b"', b'"\\ud800"'),
        _event("b")[:-1],
    ],
)
def test_what_is_not_alike_is_left_to_the_parser(event: bytes) -> None:
    assert _learnt().read(event) is None


def test_a_server_that_pads_its_events_is_given_up() -> None:
    alike = Alike()
    chunk = ChatCompletionChunk(model="m")
    chunk.choices.add().delta.content = "a"
    for number in range(20):
        alike.learn(_event("a", padding=str(number)), chunk)
    assert alike.read(_event("b", padding="19")) is None
