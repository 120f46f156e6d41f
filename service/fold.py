"""Adds up a stream of chunks to the completion that it spells out."""

from __future__ import annotations

from diglot.v1.chunk_pb2 import ChatCompletionChunk, ChunkChoice, Delta
from diglot.v1.completion_pb2 import ChatCompletion, Choice
from diglot.v1.message_pb2 import ROLE_ASSISTANT, Audio, FunctionCall, Message, ToolCall

from .errors import UpstreamInvalid
from .extra import Json, add_up, joined, known_keys, read, written

_COMPLETION = known_keys(ChatCompletion)
_CHOICE = known_keys(Choice)
_MESSAGE = known_keys(Message)
_CALL = known_keys(ToolCall)
_FUNCTION = known_keys(FunctionCall)


class Fold:
    """Unary is the fold of the stream: the one way in which whole completions are made.

    Text is gathered in lists and joined once: protobuf strings do not grow in place.
    """

    def __init__(self) -> None:
        self._completion = ChatCompletion()
        self._choices: dict[int, _Growing] = {}
        self._extra: Json = {}

    def add(self, chunk: ChatCompletionChunk) -> None:
        whole = self._completion
        if not whole.id:
            whole.id, whole.created, whole.model = chunk.id, chunk.created, chunk.model
        if chunk.HasField("usage"):
            whole.usage.CopyFrom(chunk.usage)
        if chunk.HasField("service_tier"):
            whole.service_tier = chunk.service_tier
        if chunk.HasField("system_fingerprint"):
            whole.system_fingerprint = chunk.system_fingerprint
        if chunk.HasField("moderation"):
            whole.moderation.MergeFrom(chunk.moderation)
        if chunk.HasField("extra_json"):
            _add_extra(self._extra, chunk.extra_json)
        for choice in chunk.choices:
            growing = self._choices.get(choice.index)
            if growing is None:
                growing = self._choices[choice.index] = _Growing()
            growing.add(choice)

    def completion(self) -> ChatCompletion:
        """The completion so far. Call once, when the stream has ended."""
        for index in sorted(self._choices):
            self._choices[index].finish(self._completion.choices.add(index=index))
        _put_extra(self._completion, self._extra, _COMPLETION)
        return self._completion


class _Growing:
    """One choice under way."""

    def __init__(self) -> None:
        self._choice = Choice()
        self._content: list[str] = []
        self._has_content = False
        self._refusal: list[str] = []
        self._has_refusal = False
        self._reasoning: list[str] = []
        self._calls: dict[int, ToolCall] = {}
        self._texts: dict[int, list[str]] = {}
        self._extra: Json = {}
        self._message_extra: Json = {}
        self._call_extras: dict[int, tuple[Json, Json]] = {}

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if delta.HasField("content"):
            self._has_content = True
            self._content.append(delta.content)
        if choice.HasField("logprobs"):
            self._choice.logprobs.MergeFrom(choice.logprobs)
        if choice.HasField("finish_reason"):
            self._choice.finish_reason = choice.finish_reason
        if delta.HasField("reasoning_content"):
            self._reasoning.append(delta.reasoning_content)
        if delta.HasField("refusal"):
            self._has_refusal = True
            self._refusal.append(delta.refusal)
        if delta.tool_calls:
            self._add_tool_calls(delta)
        message = self._choice.message
        if delta.annotations:
            message.annotations.extend(delta.annotations)
        if delta.HasField("function_call"):
            message.function_call.name += delta.function_call.name
            message.function_call.arguments += delta.function_call.arguments
        if delta.HasField("audio"):
            _add_audio(message.audio, delta)
        if choice.HasField("extra_json"):
            _add_extra(self._extra, choice.extra_json)
        if delta.HasField("extra_json"):
            _add_extra(self._message_extra, delta.extra_json)

    def _add_tool_calls(self, delta: Delta) -> None:
        for piece in delta.tool_calls:
            call = self._calls.setdefault(piece.index, ToolCall())
            text = self._texts.setdefault(piece.index, [])
            if piece.HasField("id"):
                call.id = piece.id
            if piece.HasField("custom"):
                call.custom.name += piece.custom.name
                text.append(piece.custom.input)
            else:
                call.function.name += piece.function.name
                text.append(piece.function.arguments)
            if piece.HasField("extra_json") or piece.function.HasField("extra_json"):
                extra, of_function = self._call_extras.setdefault(piece.index, ({}, {}))
                _add_extra(extra, piece.extra_json or "{}")
                _add_extra(of_function, piece.function.extra_json or "{}")

    def finish(self, choice: Choice) -> None:
        index = choice.index
        choice.CopyFrom(self._choice)
        choice.index = index
        message: Message = choice.message
        message.role = ROLE_ASSISTANT
        content = "".join(self._content)
        # A call's first chunk says null; OpenAI answers null too, not "", beside tool calls.
        if content or (self._has_content and not self._calls):
            message.content = content
        if self._has_refusal:
            message.refusal = "".join(self._refusal)
        if self._reasoning:
            message.reasoning_content = "".join(self._reasoning)
        for place in sorted(self._calls):
            call, text = self._calls[place], "".join(self._texts[place])
            if call.HasField("custom"):
                call.custom.input = text
            else:
                call.function.arguments = text
            if place in self._call_extras:
                extra, of_function = self._call_extras[place]
                _put_extra(call, extra, _CALL)
                if call.HasField("function"):
                    _put_extra(call.function, of_function, _FUNCTION)
            message.tool_calls.append(call)
        if isinstance(details := self._message_extra.get("reasoning_details"), list):
            self._message_extra["reasoning_details"] = joined(details)
        _put_extra(message, self._message_extra, _MESSAGE)
        _put_extra(choice, self._extra, _CHOICE)


def _add_audio(audio: Audio, delta: Delta) -> None:
    piece = delta.audio
    if piece.HasField("id"):
        audio.id = piece.id
    if piece.HasField("data"):
        audio.data += piece.data
    if piece.HasField("transcript"):
        audio.transcript += piece.transcript
    if piece.HasField("expires_at"):
        audio.expires_at = piece.expires_at


def _add_extra(whole: Json, text: str) -> None:
    try:
        add_up(whole, read(text))
    except ValueError:  # another Diglot's: our own readers write what they have read
        raise UpstreamInvalid("The upstream sent an extra_json that is not an object.") from None


def _put_extra(
    target: ChatCompletion | Choice | Message | ToolCall | FunctionCall,
    extra: Json,
    known: frozenset[str],
) -> None:
    """A chunk's JSON knows fewer keys than the completion's."""
    if kept := {key: value for key, value in extra.items() if key not in known}:
        target.extra_json = written(kept)
