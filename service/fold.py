"""Adds up a stream of chunks to the completion that it spells out."""

from __future__ import annotations

from collections.abc import Iterable

from diglot.burst import Burst, TextRun, is_mere_text
from diglot.presence import has
from diglot.v1.chunk_pb2 import AudioDelta, ChatCompletionChunk, ChunkChoice, ToolCallDelta
from diglot.v1.completion_pb2 import ChatCompletion, Choice, FinishReason
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
        self._begun = False
        # Of the last run that was: the next one mostly has the same.
        self._mere_text: ChatCompletionChunk | None = None
        self._choices: dict[int, _Growing] = {}
        self._extra: Json = {}

    def add(self, burst: Burst) -> None:
        for said in burst:
            if type(said) is not TextRun:
                self._add(said)
            elif said.common is self._mere_text or is_mere_text(said.common):
                self._mere_text = said.common
                self._add_header(said.common)
                self._growing(said.common.choices[0].index).content += said.texts
            else:
                for chunk in said:
                    self._add(chunk)

    def _add_header(self, chunk: ChatCompletionChunk) -> None:
        whole = self._completion
        if not self._begun:
            self._begun = True
            whole.id, whole.created, whole.model = chunk.id, chunk.created, chunk.model
        if has(chunk, "service_tier"):
            whole.service_tier = chunk.service_tier
        if has(chunk, "system_fingerprint"):
            whole.system_fingerprint = chunk.system_fingerprint

    def _add(self, chunk: ChatCompletionChunk) -> None:
        whole = self._completion
        self._add_header(chunk)
        if has(chunk, "usage"):
            whole.usage.CopyFrom(chunk.usage)
        if has(chunk, "moderation"):
            whole.moderation.MergeFrom(chunk.moderation)
        if has(chunk, "extra_json"):
            _add_extra(self._extra, chunk.extra_json)
        choices = chunk.choices
        for place in range(len(choices)):  # half the price of iterating
            choice = choices[place]
            self._growing(choice.index).add(choice)

    def _growing(self, index: int) -> _Growing:
        growing = self._choices.get(index)
        if growing is None:
            growing = self._choices[index] = _Growing()
        return growing

    def completion(self) -> ChatCompletion:
        """The completion so far. Call once, when the stream has ended."""
        for index in sorted(self._choices):
            choice = self._completion.choices.add()
            choice.index = index
            self._choices[index].finish(choice)
        _put_extra(self._completion, self._extra, _COMPLETION)
        return self._completion


class _Growing:
    """One choice under way."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, ToolCall] = {}
        self._texts: dict[int, list[str]] = {}
        self._extra: Json = {}
        self._message_extra: Json = {}
        self._call_extras: dict[int, tuple[Json, Json]] = {}
        self._finish_reason: FinishReason.ValueType | None = None
        # What is seldom said.
        self._choice: Choice | None = None

    def add(self, choice: ChunkChoice) -> None:
        # Of what deltas can say most say one thing, or nothing.
        for field, value in choice.delta.ListFields():
            match field.name:
                case "content":
                    self.content.append(value)
                case "reasoning_content":
                    self._reasoning.append(value)
                case "refusal":
                    self._refusal.append(value)
                case "tool_calls":
                    self._add_tool_calls(value)
                case "annotations":
                    self._rest.message.annotations.extend(value)
                case "function_call":
                    call = self._rest.message.function_call
                    call.name += value.name
                    call.arguments += value.arguments
                case "audio":
                    _add_audio(self._rest.message.audio, value)
                case "extra_json":
                    _add_extra(self._message_extra, value)
        if has(choice, "finish_reason"):
            self._finish_reason = choice.finish_reason
        if has(choice, "logprobs"):
            self._rest.logprobs.MergeFrom(choice.logprobs)
        if has(choice, "extra_json"):
            _add_extra(self._extra, choice.extra_json)

    @property
    def _rest(self) -> Choice:
        if self._choice is None:
            self._choice = Choice()
        return self._choice

    def _add_tool_calls(self, pieces: Iterable[ToolCallDelta]) -> None:
        for piece in pieces:
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
        if self._choice is not None:
            choice.MergeFrom(self._choice)
        if self._finish_reason is not None:
            choice.finish_reason = self._finish_reason
        message: Message = choice.message
        message.role = ROLE_ASSISTANT
        content = "".join(self.content)
        # A call's first chunk says null; OpenAI answers null too, not "", beside tool calls.
        if content or (self.content and not self._calls):
            message.content = content
        if self._refusal:
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


def _add_audio(audio: Audio, piece: AudioDelta) -> None:
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
    if extra and (kept := {key: value for key, value in extra.items() if key not in known}):
        target.extra_json = written(kept)
