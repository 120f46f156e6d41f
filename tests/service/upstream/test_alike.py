"""Events that are read as the like of an earlier one come to what they would come to anyway."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diglot.burst import TextRun, chunks_of
from diglot.service.errors import ChatError
from diglot.service.upstream.alike import Alike
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import Usage

ASKED = CreateChatCompletionRequest(model="m")
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


def _read(
    reader: ChunkReader, pieces: Iterable[list[bytes]]
) -> tuple[list[ChatCompletionChunk], Any]:
    said: list[ChatCompletionChunk | TextRun] = []
    try:
        for together in pieces:
            said.extend(reader.read(together))  # also what comes before an error
        said.extend(reader.end())
    except ChatError as error:
        return [*chunks_of(said)], (type(error), error.message, reader.delivered())
    return [*chunks_of(said)], reader.delivered()


def _in_full(stream: list[bytes]) -> tuple[list[ChatCompletionChunk], Any]:
    """What comes of it without any short cut."""
    reader = ChunkReader(ASKED)
    reader._alike = None
    return _read(reader, ([event] for event in stream))


def _torn(stream: list[bytes], random: Random) -> Iterator[list[bytes]]:
    """As the network would bring it: several events at a time."""
    at = 0
    while at < len(stream):
        more = random.randint(1, 5)
        yield stream[at : at + more]
        at += more


_INSIDES = st.one_of(
    TEXTS.map(lambda text: json.dumps(text)[1:-1].encode()),
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode()),
    TEXTS.map(str.encode),
    st.binary(max_size=3),
    st.sampled_from([
        *(b"", b"\\", b"\\\\", b"a\\", b',', b'","', b'\\"', b'a\\"', b'"'),
        *(b"\\ud83d", b"\\ude00", b"\\ud83d\\ude00", b"\\u00", b"\\x", b"\xff", b"\xf0\x9f", b"\n"),
    ]),
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(), st.randoms(use_true_random=False))
def test_a_stream_reads_the_same_with_and_without(stream: list[bytes], random: Random) -> None:
    """However many of its events come together."""
    assert _read(ChunkReader(ASKED), _torn(stream, random)) == _in_full(stream)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_INSIDES, max_size=12), st.randoms(use_true_random=False))
def test_whatever_stands_between_the_quotes(insides: list[bytes], random: Random) -> None:
    """Also what is no string's inside: then what came before it is read, and nothing after."""
    stream = [_event("the"), _event("first"), *map(_around, insides), _event("last"), b"[DONE]"]
    assert _read(ChunkReader(ASKED), _torn(stream, random)) == _in_full(stream)


def _event(text: str, padding: str = "") -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return json.dumps({"model": "m", "choices": [choice], "padding": padding}).encode()


def _around(inside: bytes) -> bytes:
    before, after = _event("x").split(b'"x"')
    return before + b'"' + inside + b'"' + after


def _learnt() -> Alike:
    alike = Alike()
    chunk = ChatCompletionChunk(model="m")
    chunk.choices.add().delta.content = "a"
    alike.learn(_event("a"), chunk)
    return alike


def test_the_second_event_is_read_as_the_like_of_the_first() -> None:
    run = _learnt().read([_event('say "東京"\n')])
    assert run is not None
    [chunk] = run
    assert chunk.choices[0].delta.content == 'say "東京"\n'
    assert chunk.model == "m"


def test_events_that_came_together_are_read_as_one_run() -> None:
    reader = ChunkReader(ASKED)
    opening, first, second, run = reader.read([_event(text) for text in "abcdef"])
    assert not isinstance(opening, TextRun)
    assert not isinstance(first, TextRun)
    assert not isinstance(second, TextRun)
    assert second.choices[0].delta.content == "b"
    assert isinstance(run, TextRun)
    assert run.texts == ["c", "d", "e", "f"]
    assert {chunk.model for chunk in run} == {"m"}
    assert reader.delivered() == Usage(completion_tokens=6, total_tokens=6)


def test_those_before_the_first_are_passed_over() -> None:
    run = _learnt().read([_event("a"), b"{}", _event("b"), _event("c")], 2)
    assert run is not None
    assert run.texts == ["b", "c"]


ODD = [
    b"",
    _event(""),
    _event("b", padding="x"),
    _around(b'b" "c'),
    _around(b'b", "role": "x'),
    _around(b"\xff"),
    _around(b"\\"),
    _around(b"\\ud800"),
    _around(b"\n"),
    _event("b")[:-1],
]


@pytest.mark.parametrize("event", ODD)
def test_what_is_not_alike_is_left_to_the_parser(event: bytes) -> None:
    assert _learnt().read([event, _event("z")]) is None


@pytest.mark.parametrize("event", ODD)
def test_a_run_ends_where_one_is_not_alike(event: bytes) -> None:
    run = _learnt().read([_event("b"), _event("c"), event, _event("z")])
    assert run is not None
    assert run.texts == ["b", "c"]


@pytest.mark.parametrize("text", ['"', "\\", 'a","b', "\n", "\x00", "é", "👩‍🚀", "\u2028", "}"])
def test_what_has_to_be_escaped_breaks_no_run(text: str) -> None:
    run = _learnt().read([_event("b"), _event(text), _event(text), _event("c")])
    assert run is not None
    assert run.texts == ["b", text, text, "c"]


def test_a_server_that_pads_its_events_is_given_up() -> None:
    alike = Alike()
    chunk = ChatCompletionChunk(model="m")
    chunk.choices.add().delta.content = "a"
    for number in range(20):
        alike.learn(_event("a", padding=str(number)), chunk)
    assert alike.read([_event("b", padding="19")]) is None
