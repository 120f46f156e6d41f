"""What one delta of an upstream says, and the chunks that say nothing but that."""

from __future__ import annotations

from typing import Any

from diglot.v1.chunk_pb2 import ChatCompletionChunk, ChunkChoice, Delta, ToolCallDelta
from diglot.v1.completion_pb2 import FinishReason
from diglot.v1.message_pb2 import ROLE_ASSISTANT

from . import values

# To read a chunk takes a third of the time in which it is put together.
_read = ChatCompletionChunk.FromString


def _of_first(delta: Delta, **choice: Any) -> bytes:
    choices = [ChunkChoice(index=0, delta=delta, **choice)]
    return ChatCompletionChunk(choices=choices).SerializeToString()


_BARE = _of_first(Delta())
_OPENING = _of_first(Delta(role=ROLE_ASSISTANT))
_OPENING_WITH_CONTENT = _of_first(Delta(role=ROLE_ASSISTANT, content=""))
_ENDINGS = {
    reason: _of_first(Delta(), finish_reason=reason) for reason in FinishReason.values() if reason
}


def in_place_of_text(delta: Delta) -> bool:
    """Whether it says something, and that something is why there is no text."""
    others = (delta.HasField(field) for field in ("function_call", "refusal", "audio"))
    return not delta.HasField("content") and any(others)


def bare(index: int) -> ChatCompletionChunk:
    """It says nothing yet."""
    return _of_choice(index, _BARE)


def opening(index: int, *, with_content: bool) -> ChatCompletionChunk:
    """A choice's first: it says who speaks."""
    return _of_choice(index, _OPENING_WITH_CONTENT if with_content else _OPENING)


def open_with(chunk: ChatCompletionChunk, *, with_content: bool) -> None:
    """Has a choice's first chunk that says something say who speaks, too."""
    delta = chunk.choices[0].delta
    delta.role = ROLE_ASSISTANT
    if with_content and not delta.HasField("content"):
        delta.content = ""


def calling(index: int, call: ToolCallDelta) -> ChatCompletionChunk:
    """A piece of a call of a tool."""
    chunk = bare(index)
    chunk.choices[0].delta.tool_calls.append(call)
    return chunk


def ending(index: int, reason: FinishReason.ValueType) -> ChatCompletionChunk:
    """A choice's last."""
    return _of_choice(index, _ENDINGS[reason])


def _of_choice(index: int, first: bytes) -> ChatCompletionChunk:
    chunk = _read(first)
    if index:
        chunk.choices[0].index = index
    return chunk


def read_delta(
    index: int, delta: dict[str, Any], logprobs: Any, most_likely: int, *, keep_unknown: bool
) -> ChatCompletionChunk | None:
    """The chunk for everything in a delta but tool calls; None if it says nothing."""
    content = delta.get("content")
    if len(delta) == 1 and logprobs is None and type(content) is str:  # as nearly all are
        return _text(index, content) if content else None
    said = [key for key, value in delta.items() if value and key not in ("role", "tool_calls")]
    if not said and logprobs is None:
        return None
    if said == ["content"] and logprobs is None and type(content) is str:
        return _text(index, content)
    chunk = bare(index)
    choice = chunk.choices[0]
    target = choice.delta
    if content and isinstance(content, str):
        target.content = content
    reasoning = values.text(delta.get("reasoning_content") or delta.get("reasoning"))
    if reasoning and len(said) == 1 and logprobs is None:
        target.reasoning_content = reasoning
        return chunk
    if isinstance(content, list):
        content, thought = values.parts(content)
        if content:
            target.content = content
        reasoning = reasoning or thought
    if reasoning:
        target.reasoning_content = reasoning
    if refusal := values.text(delta.get("refusal")):
        target.refusal = refusal
    if found := values.annotations_of(delta.get("annotations")):
        target.annotations.extend(found)
    if isinstance(call := delta.get("function_call"), dict):
        if name := values.text(call.get("name")):
            target.function_call.name = name
        if (arguments := values.text(call.get("arguments"))) is not None:
            target.function_call.arguments = arguments
    if isinstance(audio := delta.get("audio"), dict):
        _hear(choice, audio)
    if isinstance(logprobs, dict) and (logprobs.get("content") or logprobs.get("refusal")):
        told = values.logprobs(logprobs, most_likely, keep_unknown=keep_unknown)
        choice.logprobs.CopyFrom(told)
        if not target.ByteSize():
            target.content = ""  # a token that is only a part of a character
    return chunk if target.ByteSize() else None


def _text(index: int, content: str) -> ChatCompletionChunk:
    chunk = bare(index)
    chunk.choices[0].delta.content = content
    return chunk


def _hear(choice: ChunkChoice, audio: dict[str, Any]) -> None:
    for name in ("id", "data", "transcript"):
        if (value := values.text(audio.get(name))) is not None:
            setattr(choice.delta.audio, name, value)
    expires = audio.get("expires_at")
    if isinstance(expires, int) and abs(expires) < 2**63:
        choice.delta.audio.expires_at = expires
