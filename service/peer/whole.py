"""A completion that a peer gives in one piece, as a stream's only chunk. Fold makes it of that
again."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message as AnyMessage

from diglot.v1.chunk_pb2 import (
    AudioDelta,
    ChatCompletionChunk,
    ChunkChoice,
    CustomCallDelta,
    Delta,
    FunctionCallDelta,
    ToolCallDelta,
)
from diglot.v1.completion_pb2 import ChatCompletion, Choice
from diglot.v1.message_pb2 import Message, ToolCall

M = TypeVar("M", bound=AnyMessage)


def chunk_of(completion: ChatCompletion) -> ChatCompletionChunk:
    """What it says, each choice with its end, and the usage."""
    return _as(ChatCompletionChunk, completion, choices=map(_choice, completion.choices))


def _choice(choice: Choice) -> ChunkChoice:
    return _as(ChunkChoice, choice, delta=_delta(choice.message))


def _delta(message: Message) -> Delta:
    others: dict[str, Any] = {"tool_calls": map(_call, range(2**31), message.tool_calls)}
    if message.HasField("audio"):
        others["audio"] = _as(AudioDelta, message.audio)
    if message.HasField("function_call"):
        others["function_call"] = _as(FunctionCallDelta, message.function_call)
    return _as(Delta, message, **others)


def _call(index: int, call: ToolCall) -> ToolCallDelta:
    if call.WhichOneof("call") == "custom":
        return _as(ToolCallDelta, call, index=index, custom=_as(CustomCallDelta, call.custom))
    return _as(ToolCallDelta, call, index=index, function=_as(FunctionCallDelta, call.function))


def _as(kind: type[M], message: AnyMessage, **others: Any) -> M:
    """What is set of a message, as a kind has it that calls most of it the same; `others` it has
    in its own way."""
    known = kind.DESCRIPTOR.fields_by_name
    same = {field.name: value for field, value in message.ListFields() if field.name in known}
    return kind(**same | others)
