"""Chunks that came together, and the runs of those that differ in nothing but their text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.burst import Burst, TextRun, chunks_of, is_mere_text, messages_of
from diglot.v1.chunk_pb2 import ChatCompletionChunk, ChunkChoice
from diglot.v1.completion_pb2 import FINISH_REASON_STOP
from diglot.v1.message_pb2 import ROLE_ASSISTANT


def text(content: str, index: int = 0, **more: Any) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="c", created=17, model="m", **more)
    chunk.choices.add(index=index).delta.content = content
    return chunk


TEXTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5)
SAID = st.builds(text, st.text(max_size=3)) | st.builds(
    TextRun, st.builds(text, st.text(max_size=3), st.integers(0, 2)), TEXTS
)


def test_a_run_gives_a_chunk_for_each_of_its_texts() -> None:
    """Whatever text is left of another time in what they have in common."""
    run = TextRun(text("stale", 1, system_fingerprint="fp"), ["a", " ", "b"])
    assert list(run) == [text(each, 1, system_fingerprint="fp") for each in ("a", " ", "b")]
    assert list(run) == list(run), "as often as it is asked"


def test_a_chunk_of_a_run_is_its_readers_own() -> None:
    """What one reader writes into it, no other reader sees; nor those of a run that comes later."""
    common = text("")
    first, second = TextRun(common, ["a", "b"])
    first.choices[0].delta.content = first.id = "mine"
    first.choices.add()
    assert second == text("b")
    assert list(TextRun(common, ["a", "c"])) == [text("a"), text("c")]
    common.id = "theirs"
    assert second.id == "c"


def test_what_is_common_is_told_to_all_that_are_read_later() -> None:
    """So the core names an answer's chunks without a look at each."""
    common = text("")
    burst: Burst = [text("a"), TextRun(common, ["b", "c"]), TextRun(common, ["d"]), text("e")]
    for message in messages_of(burst):
        message.id = "chatcmpl-1"
    chunks = list(chunks_of(burst))
    assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["a", "b", "c", "d", "e"]


@given(st.lists(SAID, min_size=1))
def test_the_chunks_of_a_burst_come_in_their_order(
    burst: list[ChatCompletionChunk | TextRun],
) -> None:
    expected: list[ChatCompletionChunk] = []
    for said in burst:
        expected += said if isinstance(said, TextRun) else [said]
    assert list(chunks_of(burst)) == expected
    assert len(list(messages_of(burst))) == len(burst)


def test_a_chunk_that_is_not_of_a_run_is_the_very_one() -> None:
    chunk = text("a")
    [same] = chunks_of([chunk])
    assert same is chunk
    [same] = messages_of([chunk])
    assert same is chunk


@pytest.mark.parametrize(
    "chunk",
    [text("a"), text(""), text("a", 3), text("a", system_fingerprint="fp", service_tier="t")],
    ids=["text", "empty", "another choice's", "with what is the same on all"],
)
def test_mere_text(chunk: ChatCompletionChunk) -> None:
    assert is_mere_text(chunk)


def _first(choice: ChunkChoice) -> None:
    choice.delta.role = ROLE_ASSISTANT


def _last(choice: ChunkChoice) -> None:
    choice.finish_reason = FINISH_REASON_STOP


def _likely(choice: ChunkChoice) -> None:
    choice.logprobs.content.add(token="a")


def _called(choice: ChunkChoice) -> None:
    choice.delta.tool_calls.add()


def _thought(choice: ChunkChoice) -> None:
    choice.delta.reasoning_content = ""


def _silent(choice: ChunkChoice) -> None:
    choice.delta.ClearField("content")


def _vendors(choice: ChunkChoice) -> None:
    choice.extra_json = '{"x":1}'


def _vendors_in_the_delta(choice: ChunkChoice) -> None:
    choice.delta.extra_json = '{"x":1}'


@pytest.mark.parametrize(
    "change",
    [_first, _last, _likely, _called, _thought, _silent, _vendors, _vendors_in_the_delta],
)
def test_what_says_more_of_its_choice_is_no_mere_text(
    change: Callable[[ChunkChoice], None],
) -> None:
    chunk = text("a")
    change(chunk.choices[0])
    assert not is_mere_text(chunk)


def test_what_says_more_than_its_choice_is_no_mere_text() -> None:
    two, none, spent = text("a"), text("a"), text("a")
    two.choices.add(index=1).delta.content = "b"
    none.ClearField("choices")
    spent.usage.completion_tokens = 1
    padded, merged = text("a", obfuscation="x"), text("a", merged_chunks=2)
    with_key = text("a", extra_json="{}")
    for chunk in (two, none, spent, padded, merged, with_key):
        assert not is_mere_text(chunk)
