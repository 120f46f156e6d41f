"""Chunks that wait to be sent become one; what they say stays the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from diglot.service.fold import Fold
from diglot.service.merging import Merging
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import FINISH_REASON_STOP, ChatCompletion
from diglot.v1.message_pb2 import ROLE_ASSISTANT


def text(content: str, index: int = 0, **more: Any) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="chatcmpl-1", created=1, model="m", **more)
    chunk.choices.add(index=index).delta.content = content
    return chunk


def role() -> ChatCompletionChunk:
    chunk = text("")
    chunk.choices[0].delta.role = ROLE_ASSISTANT
    return chunk


def end(content: str | None = None) -> ChatCompletionChunk:
    chunk = text("")
    chunk.choices[0].finish_reason = FINISH_REASON_STOP
    if content is None:
        chunk.choices[0].delta.ClearField("content")
    else:
        chunk.choices[0].delta.content = content
    return chunk


def likely(token: str) -> ChatCompletionChunk:
    chunk = text(token)
    chunk.choices[0].logprobs.content.add(token=token, logprob=-1)
    return chunk


def thought(content: str) -> ChatCompletionChunk:
    chunk = text("")
    chunk.choices[0].delta.ClearField("content")
    chunk.choices[0].delta.reasoning_content = content
    return chunk


def called() -> ChatCompletionChunk:
    chunk = text("")
    chunk.choices[0].delta.tool_calls.add(index=0).function.arguments = "{"
    return chunk


def spent() -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="chatcmpl-1", created=1, model="m")
    chunk.usage.completion_tokens = 3
    return chunk


def sent(chunks: Iterable[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    """All of them wait from the beginning."""
    merging, messages = Merging(), []
    for chunk in chunks:
        mine = ChatCompletionChunk()
        mine.CopyFrom(chunk)
        if not merging.add(mine):
            messages.append(merging.take())
            assert merging.add(mine)
    messages.append(merging.take())
    return [message for message in messages if message is not None]


def folded(chunks: Iterable[ChatCompletionChunk]) -> ChatCompletion:
    fold = Fold()
    for chunk in chunks:
        fold.add(chunk)
    return fold.completion()


def test_text_that_waits_is_one_message() -> None:
    assert sent([text("a"), text("b"), text("c")]) == [text_of(3, "abc")]


def text_of(count: int, content: str) -> ChatCompletionChunk:
    chunk = text(content)
    chunk.merged_chunks = count
    return chunk


def test_a_chunk_alone_is_left_as_it_came() -> None:
    [message] = sent([text("a")])
    assert message == text("a")
    assert not message.HasField("merged_chunks")


def test_beginning_and_end_stay_messages_of_their_own() -> None:
    chunks = [role(), text("a"), text("b"), end(), spent()]
    assert sent(chunks) == [role(), text_of(2, "ab"), end(), spent()]


def test_what_says_more_than_text_is_never_merged() -> None:
    padded = text("x", obfuscation="p")
    for chunk in (role(), end("x"), likely("x"), thought("x"), called(), spent(), padded):
        assert sent([text("a"), chunk, text("b")]) == [text("a"), chunk, text("b")]
        assert sent([chunk, chunk]) == [chunk, chunk]


def test_choices_are_kept_apart() -> None:
    chunks = [text("a"), text("b", 1), text("c")]
    assert sent(chunks) == chunks


def test_a_message_does_not_grow_for_ever() -> None:
    messages = sent(text("x") for _ in range(1000))
    assert sum(message.merged_chunks for message in messages) == 1000
    assert max(message.merged_chunks for message in messages) == 128
    large = sent(text("x" * 10_000) for _ in range(10))
    assert [message.merged_chunks for message in large] == [2] * 5


def test_an_empty_message_is_nothing_to_send() -> None:
    merging = Merging()
    assert merging.take() is None
    merging.add(text("a"))
    assert merging.take() == text("a")
    assert merging.take() is None


_CHUNKS = st.one_of(
    st.builds(text, st.text(max_size=3), st.integers(0, 1)),
    st.builds(thought, st.text(max_size=3)),
    st.builds(likely, st.text(max_size=3)),
    st.builds(text, st.text(max_size=3), st.just(0), system_fingerprint=st.sampled_from("ab")),
    st.sampled_from([role(), end(), end("z"), called(), spent()]),
)


@given(st.lists(_CHUNKS))
def test_merging_changes_nothing_of_what_a_stream_says(chunks: list[ChatCompletionChunk]) -> None:
    messages = sent(chunks)
    assert folded(messages) == folded(chunks)
    assert sum(message.merged_chunks or 1 for message in messages) == len(chunks)
