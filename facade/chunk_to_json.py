"""From a chunk to its line of the stream: the hot path of the façade.

Every line is a function of its chunk alone (and of whether usage was asked for). The
encoder remembers only how to write the next one faster.
"""

from __future__ import annotations

from json.encoder import encode_basestring  # written in C, where there is a C
from typing import NamedTuple

from diglot.burst import Burst, TextRun
from diglot.v1.chunk_pb2 import (
    AudioDelta,
    ChatCompletionChunk,
    ChunkChoice,
    CustomCallDelta,
    Delta,
    FunctionCallDelta,
    ToolCallDelta,
)

from .extra import beside
from .to_json import FINISH_REASONS, ROLES, Json, annotation, dumps, logprobs, moderation, usage

DONE = b"data: [DONE]\n\n"


def line(chunk: ChatCompletionChunk, include_usage: bool) -> bytes:
    return b"data: " + dumps(to_json(chunk, include_usage)) + b"\n\n"


class _Template(NamedTuple):
    """A line that was written, to be written again with other text."""

    chunk: ChatCompletionChunk
    delta: Delta
    before: bytes
    after: bytes


class ChunkEncoder:
    """`line` for the chunks of one stream, four times as fast for those of nothing but text.

    A chunk that equals an earlier one but for its text gives a line that equals the
    earlier one but for its text.
    """

    def __init__(self, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._templates: dict[int, _Template] = {}
        self._extra = ("", "")
        self._common: ChatCompletionChunk | None = None
        self._before = self._after = ""

    def __call__(self, burst: Burst) -> bytes:
        return b"".join(
            self._lines(said) if type(said) is TextRun else self._line(said) for said in burst
        )

    def _lines(self, run: TextRun) -> bytes:
        """Those of a run, written as one: each between what all have before and after it."""
        if run.common is not self._common:
            self._common = run.common
            template = self._template(run.common)
            self._before, self._after = template.before.decode(), template.after.decode()
        texts = (self._after + self._before).join(map(encode_basestring, run.texts))
        return f"{self._before}{texts}{self._after}".encode()

    def _line(self, chunk: ChatCompletionChunk) -> bytes:
        chunk.ClearField("merged_chunks")  # OpenAI's chunks have nothing like it
        choices = chunk.choices
        if len(choices) != 1:
            return line(chunk, self._include_usage)
        choice = choices[0]
        template = self._templates.get(choice.index)
        if template is not None:
            template.delta.content = text = choice.delta.content
            if template.chunk == chunk:
                return template.before + encode_basestring(text).encode() + template.after
        return self._general(chunk, choice)

    def _general(self, chunk: ChatCompletionChunk, choice: ChunkChoice) -> bytes:
        fields = [field.name for field, _ in choice.delta.ListFields()]
        # A usage or a finish_reason comes once, and probabilities never twice the same.
        dear = choice.HasField("finish_reason") or choice.HasField("logprobs")
        before, self._extra = self._extra, (chunk.extra_json, choice.extra_json)
        dear |= before != self._extra  # some are never twice the same, too
        if fields == ["content"] and not dear and not chunk.HasField("obfuscation"):
            self._templates[choice.index] = self._template(chunk)
        return line(chunk, self._include_usage)

    def _template(self, chunk: ChatCompletionChunk) -> _Template:
        copy = ChatCompletionChunk()
        copy.CopyFrom(chunk)
        delta = copy.choices[0].delta
        # Told apart from whatever the other strings hold by the key before it, whose
        # quotes no string can hold unescaped.
        delta.content = ""
        before, after = line(copy, self._include_usage).split(b'"delta":{"content":""', 1)
        return _Template(copy, delta, before + b'"delta":{"content":', after)


def to_json(chunk: ChatCompletionChunk, include_usage: bool) -> Json:
    result: Json = {
        "id": chunk.id,
        "object": "chat.completion.chunk",
        "created": chunk.created,
        "model": chunk.model,
    }
    if chunk.HasField("service_tier"):
        result["service_tier"] = chunk.service_tier
    if chunk.HasField("system_fingerprint"):
        result["system_fingerprint"] = chunk.system_fingerprint
    result["choices"] = [_choice(choice) for choice in chunk.choices]
    if chunk.HasField("usage"):
        result["usage"] = usage(chunk.usage)
    elif include_usage:
        result["usage"] = None
    if chunk.HasField("moderation"):
        result["moderation"] = moderation(chunk.moderation)
    if chunk.HasField("obfuscation"):
        result["obfuscation"] = chunk.obfuscation
    if chunk.extra_json:
        beside(result, chunk)
    return result


def _choice(choice: ChunkChoice) -> Json:
    result: Json = {
        "index": choice.index,
        "delta": _delta(choice.delta),
        "logprobs": logprobs(choice.logprobs) if choice.HasField("logprobs") else None,
        "finish_reason": FINISH_REASONS.get(choice.finish_reason),
    }
    if choice.extra_json:
        beside(result, choice)
    return result


def _delta(delta: Delta) -> Json:
    result: Json = {}
    first = delta.HasField("role")
    if first:
        result["role"] = ROLES.get(delta.role, "assistant")
    if first or delta.HasField("content"):
        result["content"] = delta.content if delta.HasField("content") else None
    if delta.HasField("reasoning_content"):
        result["reasoning_content"] = delta.reasoning_content
    if delta.tool_calls:
        result["tool_calls"] = [_tool_call(call) for call in delta.tool_calls]
    if delta.HasField("function_call"):
        result["function_call"] = _set_fields(delta.function_call)
    if first or delta.HasField("refusal"):
        result["refusal"] = delta.refusal if delta.HasField("refusal") else None
    if delta.HasField("audio"):
        result["audio"] = _set_fields(delta.audio)
    if delta.annotations:
        result["annotations"] = [annotation(one) for one in delta.annotations]
    if delta.extra_json:
        beside(result, delta)
    return result


def _tool_call(call: ToolCallDelta) -> Json:
    """The header, which has the id, or a continuation, which has nothing but text.

    Clients append whatever they are sent, so a continuation repeats nothing, not even
    as null.
    """
    result: Json = {"index": call.index}
    kind = call.WhichOneof("call")
    if call.HasField("id"):
        result["id"] = call.id
    if kind is None:
        return beside(result, call)
    if kind == "function":
        body, text = beside(_set_fields(call.function), call.function), "arguments"
    else:
        body, text = _set_fields(call.custom), "input"
    if call.HasField("id"):
        result["type"] = kind
        body.setdefault(text, "")
    result[kind] = body
    return beside(result, call)


def _set_fields(part: FunctionCallDelta | CustomCallDelta | AudioDelta) -> Json:
    return {field.name: value for field, value in part.ListFields() if field.name != "extra_json"}
