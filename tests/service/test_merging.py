"""Text that came together becomes one message; what is said stays the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from diglot.burst import Burst, TextRun, chunks_of
from diglot.service.fold import Fold
from diglot.service.merging import merged
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import FINISH_REASON_STOP, ChatCompletion
from diglot.v1.message_pb2 import ROLE_ASSISTANT


def text(content: str, index: int = 0, **more: Any) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="chatcmpl-1", created=1, model="m", **more)
    chunk.choices.add(index=index).delta.content = content
    return chunk


def run(*texts: str, **more: Any) -> TextRun:
    """With some text of another time in what is common to all."""
    return TextRun(text("stale", **more), list(texts))


def text_of(count: int, content: str, index: int = 0) -> ChatCompletionChunk:
    return text(content, index, merged_chunks=count)


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


def sent(*burst: ChatCompletionChunk | TextRun) -> list[ChatCompletionChunk]:
    return list(merged(burst))


def folded(chunks: Iterable[ChatCompletionChunk]) -> ChatCompletion:
    fold = Fold()
    for chunk in chunks:
        fold.add([chunk])
    return fold.completion()


def test_text_that_came_together_is_one_message() -> None:
    assert sent(run("a", "b", "c")) == [text_of(3, "abc")]


def test_a_chunk_alone_is_left_as_it_came() -> None:
    for alone in (run("a"), text("a")):
        [message] = sent(alone)
        assert message == text("a")
        assert not message.HasField("merged_chunks")


def test_beginning_and_end_stay_messages_of_their_own() -> None:
    burst: Burst = [role(), run("a", "b"), end(), spent()]
    assert sent(*burst) == [role(), text_of(2, "ab"), end(), spent()]


def test_what_says_more_than_text_is_never_merged() -> None:
    padded = text("x", obfuscation="p")
    for chunk in (role(), end("x"), likely("x"), thought("x"), called(), spent(), padded):
        assert sent(run("a", "b"), chunk, chunk, run("c", "d")) == [
            text_of(2, "ab"), chunk, chunk, text_of(2, "cd")
        ]  # fmt: skip


def test_what_a_run_says_beside_its_text_it_says_with_each() -> None:
    """Vendor's keys are counted by those who read them: said once, they would be lost."""
    extra: dict[str, Any] = {"extra_json": '{"x":1}'}
    of_choice, of_delta = run("a", "b"), run("a", "b")
    of_choice.common.choices[0].extra_json = '{"token_ids":[1]}'
    of_delta.common.choices[0].delta.extra_json = '{"token_id":1}'
    assert sent(run("a", "b", **extra)) == [text("a", **extra), text("b", **extra)]
    for rich in (of_choice, of_delta):
        assert sent(rich) == list(rich)
        assert [chunk.choices[0].delta.content for chunk in sent(rich)] == ["a", "b"]


def test_choices_are_kept_apart() -> None:
    burst = [run("a", "b"), run("c", "d", index=1), run("e", "f")]
    assert sent(*burst) == [text_of(2, "ab"), text_of(2, "cd", 1), text_of(2, "ef")]


def test_messages_are_their_readers_own() -> None:
    """What a run's chunks have in common is written to again when more of them come."""
    common = run("a", "b")
    message, alone = sent(common, TextRun(common.common, ["c"]))
    common.common.id = "another"
    assert (message.id, alone.id) == ("chatcmpl-1", "chatcmpl-1")
    message.choices[0].delta.content = "mine"
    assert sent(common)[0].choices[0].delta.content == "ab"


_TEXTS = st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4)
_SAID: st.SearchStrategy[ChatCompletionChunk | TextRun] = st.one_of(
    st.builds(TextRun, st.builds(text, st.text(max_size=3), st.integers(0, 1)), _TEXTS),
    st.builds(TextRun, st.builds(text, st.just("x"), extra_json=st.just('{"x":"y"}')), _TEXTS),
    st.builds(text, st.text(max_size=3), st.integers(0, 1)),
    st.builds(thought, st.text(max_size=3)),
    st.builds(likely, st.text(max_size=3)),
    st.builds(text, st.text(max_size=3), st.just(0), system_fingerprint=st.sampled_from("ab")),
    st.sampled_from([role(), end(), end("z"), called(), spent()]),
)


@given(st.lists(_SAID))
def test_merging_changes_nothing_of_what_a_stream_says(said: Burst) -> None:
    burst = [text(""), *said]  # a run is never the first
    chunks, messages = list(chunks_of(burst)), sent(*burst)
    whole = Fold()
    whole.add(burst)
    assert folded(messages) == folded(chunks) == whole.completion()
    assert sum(message.merged_chunks or 1 for message in messages) == len(chunks)
