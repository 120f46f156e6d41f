"""Characters that an upstream cut in two: JSON can spell a half of one, and text cannot hold it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.burst import chunks_of
from diglot.service.errors import ChatError, UpstreamInvalid, UpstreamUnavailable
from diglot.service.fold import Fold
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.service.upstream.refusal import error_of
from diglot.service.upstream.surrogates import parsed
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import ChatCompletion
from diglot.v1.message_pb2 import Message

Json = dict[str, Any]
FIRST, SECOND = "\ud83d", "\ude00"
DONE = b"[DONE]"


def event(delta: Json, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return json.dumps({"model": "m", "choices": [choice]} | more).encode()


def saying(*texts: str) -> list[bytes]:
    return [event({"content": text}) for text in texts]


def chunks(events: Iterable[bytes]) -> list[ChatCompletionChunk]:
    reader = ChunkReader(CreateChatCompletionRequest())
    return [*chunks_of([*reader.read([*events]), *reader.end()])]


def answer(*events: bytes) -> ChatCompletion:
    whole = Fold()
    whole.add(chunks([*events, DONE]))
    return whole.completion()


def message(*events: bytes) -> Message:
    return answer(*events).choices[0].message


def test_halves_in_two_deltas_are_one_character() -> None:
    events = saying("a" + FIRST, SECOND + "b")
    assert events[0].count(rb"\ud83d") == 1
    told = [chunk.choices[0].delta.content for chunk in chunks([*events, DONE])]
    assert [text for text in told if text] == ["a", "😀b"]


def test_they_are_joined_where_one_like_event_follows_another() -> None:
    texts = ["a", "b", "c", "d" + FIRST, SECOND, "e", "f", FIRST, SECOND + FIRST, SECOND, "g"]
    assert message(*saying(*texts)).content == "abcd😀ef😀😀g"


@given(st.lists(st.sampled_from(["a", "", '"', "\\", "😀", "\\ud83d"]), max_size=8), st.data())
def test_wherever_a_text_is_cut_it_is_the_same(parts: list[str], data: st.DataObject) -> None:
    text = "x" + "".join(parts)
    units = text.encode("utf-16-le")
    cuts = data.draw(st.lists(st.integers(0, len(units) // 2), max_size=6).map(sorted))
    bounds = [0, *(2 * cut for cut in cuts), len(units)]
    pieces = [
        units[start:end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(bounds)
    ]
    assert message(*saying(*pieces)).content == text


@pytest.mark.parametrize("field", ["reasoning_content", "refusal"])
def test_each_field_has_its_own(field: str) -> None:
    said = message(event({field: "a" + FIRST}), event({field: SECOND}), event({"content": "b"}))
    assert getattr(said, field) == "a😀"
    assert said.content == "b"


def test_so_has_each_choice() -> None:
    said = answer(
        event({"content": FIRST}, 0),
        event({"content": "\ud83c"}, 1),
        event({"content": SECOND}, 0),
        event({"content": "\udf0d"}, 1),
    )
    assert [choice.message.content for choice in said.choices] == ["😀", "🌍"]


def calling(*pieces: Json) -> bytes:
    return event({"tool_calls": [*pieces]})


def test_arguments_are_joined_of_each_call() -> None:
    said = message(
        calling({"index": 0, "id": "c0", "function": {"name": "f", "arguments": '{"a":"' + FIRST}}),
        calling({"index": 1, "id": "c1", "custom": {"name": "g", "input": "\ud83c"}}),
        calling({"index": 0, "function": {"arguments": SECOND + '"}'}}),
        calling({"index": 1, "custom": {"input": "\udf0d"}}),
        event({}, finish="tool_calls"),
    )
    assert [call.function.arguments or call.custom.input for call in said.tool_calls] == [
        '{"a":"😀"}',
        "🌍",
    ]


def test_what_is_said_between_without_text_does_not_part_them() -> None:
    ping = event({"role": "assistant", "content": ""})
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 1}}).encode()
    assert message(*saying(FIRST), ping, usage, *saying(SECOND)).content == "😀"


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        pytest.param([FIRST, "b"], "\ufffdb", id="text follows"),
        pytest.param([FIRST, FIRST, SECOND], "\ufffd😀", id="another first half follows"),
        pytest.param(["a", SECOND + "b"], "a\ufffdb", id="only the second comes"),
        pytest.param(["a" + FIRST + "b", "c"], "a\ufffdbc", id="in the middle"),
        pytest.param(["a", FIRST], "a\ufffd", id="at the end"),
        pytest.param([FIRST], "\ufffd", id="alone"),
    ],
)
def test_a_half_whose_other_never_comes_is_a_replacement(texts: list[str], told: str) -> None:
    assert message(*saying(*texts)).content == told
    finished = message(*saying(*texts), event({}, finish="stop"))
    assert finished.content == told
    assert message(*saying(*texts[:-1]), event({"content": texts[-1]}, finish="stop")) == finished


def test_what_a_thought_lost_comes_before_the_answer() -> None:
    said = [
        chunk.choices[0].delta
        for chunk in chunks([event({"reasoning_content": "a" + FIRST}), *saying("b"), DONE])
    ]
    assert [delta.reasoning_content or delta.content for delta in said] == [
        *("", "a", "\ufffd", "b", ""),
    ]


def test_what_a_call_lost_stays_with_it() -> None:
    first = {"id": "c0", "function": {"name": "f", "arguments": "{}" + FIRST}}
    second = {"id": "c1", "function": {"name": "f", "arguments": "{}"}}
    for place in ({"index": 0}, {}):
        said = message(calling(first | place), calling(second | place))
        assert [call.function.arguments for call in said.tool_calls] == ["{}\ufffd", "{}"]


def test_unknown_keys_and_tokens_have_replacements() -> None:
    logprobs = {"content": [{"token": FIRST, "logprob": 0, "bytes": [240, 159]}]}
    delta = {"content": "a", "vendor": {"deep": [SECOND]}}
    choice = {"index": 0, "delta": delta, "logprobs": logprobs}
    said = answer(json.dumps({"choices": [choice], FIRST: FIRST + "b"}).encode())
    assert json.loads(said.extra_json) == {"\ufffd": "\ufffdb"}
    assert json.loads(said.choices[0].message.extra_json) == {"vendor": {"deep": ["\ufffd"]}}
    assert said.choices[0].logprobs.content[0].token == "\ufffd"


def test_a_whole_completion_has_replacements() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "a" + FIRST}}], "x": SECOND}
    whole = Fold()
    whole.add(ChunkReader(CreateChatCompletionRequest()).read_whole(json.dumps(body).encode()))
    assert whole.completion().choices[0].message.content == "a\ufffd"
    assert json.loads(whole.completion().extra_json) == {"x": "\ufffd"}


def test_one_that_broke_off_is_no_other_for_a_half_in_it() -> None:
    body = rb'{"choices":[{"message":{"role":"assistant","content":"\ud83d and'
    with pytest.raises(UpstreamUnavailable, match="broke off"):
        ChunkReader(CreateChatCompletionRequest()).read_whole(body)


def test_a_refusal_is_told_with_a_replacement() -> None:
    error = error_of(400, json.dumps({"error": {"message": "No " + FIRST}}).encode())
    assert str(error) == "No \ufffd"


@pytest.mark.parametrize(
    "data",
    [
        rb'{"choices":[{"delta":{"content":"\ud83d"}}]',
        rb'{"choices":[{"delta":{"content":"\ud83"}}]}',
        rb'{"choices":[{"delta":{"content":"\ud8zz"}}]}',
        b'{"choices":[{"delta":{"content":"\xed\xa0\xbd"}}]}',
        rb'{"x":"\ud83d","y":' + b"[" * 300 + b"]" * 300 + b"}",
    ],
    ids=["torn", "escape cut", "no digits", "not UTF-8", "300 levels"],
)
def test_what_is_not_json_is_that_still(data: bytes) -> None:
    for before in ([], saying(FIRST)):
        with pytest.raises(UpstreamInvalid, match="an event that is not JSON"):
            chunks([*before, data])


@pytest.mark.parametrize(
    "event",
    [
        {"index": []},
        {"index": "0"},
        {"index": 0, "delta": []},
        {"delta": {"content": [FIRST]}},
        {"delta": {"tool_calls": [FIRST, {"index": [], "function": {"arguments": FIRST}}, {}]}},
    ],
)
def test_nothing_that_has_another_type_is_a_bug_of_ours(event: Json) -> None:
    data = json.dumps({"choices": [None, event, {"index": 0, "delta": {"content": FIRST}}]})
    for rest in ([], saying(SECOND), [b"7"], [b'{"choices":7}'], [b'{"choices":[[]]}']):
        with suppress(ChatError):
            chunks([data.encode(), *rest, DONE])


def test_only_halves_that_are_alone_are_replaced() -> None:
    text = rb'["\uD83D\uDE00", "\\ud83d", "\\\ud83d", "\"\ude00", "\ud83d\ud83d\ude00", "\u00e9"]'
    assert parsed(text) == ["😀", "\\ud83d", "\\\ufffd", '"\ufffd', "\ufffd😀", "é"]
