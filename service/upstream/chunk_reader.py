"""An upstream's chunks, from JSON to the contract, mended on the way.

Servers that call themselves OpenAI-compatible differ in every detail that OpenAI leaves to
habit. Clients do not forgive it, so here, and only here, streams are brought into OpenAI's
form: the role once, on each choice's first chunk, in order of index; content "" there, or
null where tool calls follow; the finish reason once, alone, one of five; usage last, alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk, ChunkChoice, Delta
from diglot.v1.message_pb2 import ROLE_ASSISTANT

from ..errors import UpstreamInvalid, UpstreamUnavailable
from . import values
from .alike import Alike
from .refusal import error_in
from .tool_calls import ToolCallMender

_FINISH: dict[str, c.FinishReason.ValueType] = {
    "stop": c.FINISH_REASON_STOP,
    "length": c.FINISH_REASON_LENGTH,
    "max_tokens": c.FINISH_REASON_LENGTH,
    "model_length": c.FINISH_REASON_LENGTH,
    "model_context_window_exceeded": c.FINISH_REASON_LENGTH,
    "tool_calls": c.FINISH_REASON_TOOL_CALLS,
    "tool_call": c.FINISH_REASON_TOOL_CALLS,
    "tool_use": c.FINISH_REASON_TOOL_CALLS,
    "content_filter": c.FINISH_REASON_CONTENT_FILTER,
    "sensitive": c.FINISH_REASON_CONTENT_FILTER,
    "function_call": c.FINISH_REASON_FUNCTION_CALL,
}
_FAILED = {
    *("abort", "aborted", "error", "cancelled"),
    *("insufficient_system_resource", "network_error"),
}

_MOST_CHOICES = 128


class ChunkReader:
    """Reads one stream. `model` is what chunks say answers; by default what the upstream says."""

    def __init__(self, request: CreateChatCompletionRequest, model: str | None = None) -> None:
        choice = request.tool_choice.WhichOneof("choice")
        named = request.function_call.WhichOneof("choice") == "name"
        self._names_a_tool = named or choice in ("function_name", "custom_name")
        self._model = model
        self._answering = model or ""
        self._choices: dict[int, _Choice] = {}
        self._most_likely = request.top_logprobs
        self.usage: c.Usage | None = None
        self._tokens = 0
        self._done = False
        # Where a subclass makes something else of a choice, the like of it may mean another thing.
        own = type(self) is not ChunkReader
        self._alike = None if own else Alike()

    def read(self, data: bytes) -> Iterable[ChatCompletionChunk]:
        """The chunks that one event comes to: none, one, or several."""
        if self._alike is not None and (chunk := self._alike.read(data)) is not None:
            self._tokens += 1
            return (chunk,)
        return self._read(data)

    def _read(self, data: bytes) -> Iterator[ChatCompletionChunk]:
        if data.startswith(b"[DONE]"):
            self._done = True
            return
        try:
            value = from_json(data)
        except ValueError:
            raise UpstreamInvalid("The upstream sent an event that is not JSON.") from None
        if not isinstance(value, dict):
            raise UpstreamInvalid("The upstream sent an event that is not an object.")
        if error := value.get("error"):
            raise error_in(error)
        usage = value.get("usage")
        if isinstance(usage, dict):
            self.count(values.usage(usage))
        choices = value.get("choices")
        if not isinstance(choices, list):
            return
        opened = len(self._choices)
        for choice in choices:
            if isinstance(choice, dict):
                for chunk in self.read_choice(choice):
                    self._stamped(chunk, value)
                    if (
                        self._alike is not None
                        and len(choices) == 1
                        and len(self._choices) == opened
                        and _is_plain(choice)
                    ):
                        self._alike.learn(data, chunk)
                    yield chunk

    def end(self) -> Iterator[ChatCompletionChunk]:
        """What comes after the last event. Raises if the answer is not whole."""
        if not self._done and not all(choice.finished for choice in self._choices.values()):
            raise UpstreamUnavailable("The upstream broke off in the middle of its answer.")
        if not self._choices:
            raise UpstreamInvalid("The upstream ended without an answer.")
        for index, choice in self._choices.items():
            if not choice.finished:
                for chunk in self._finish(index, choice, c.FINISH_REASON_STOP):
                    chunk.model = self._answering
                    yield chunk
        if self.usage is not None:
            yield ChatCompletionChunk(model=self._answering, usage=self.usage)

    def count(self, usage: c.Usage) -> None:
        """Takes a usage that the upstream sent. The last one counts: it is the whole."""
        self.usage = usage

    def delivered(self) -> c.Usage | None:
        """What it has come to so far, for who does not wait for the end. See `meter`."""
        if not self._tokens:
            return None
        return self.usage or c.Usage(completion_tokens=self._tokens, total_tokens=self._tokens)

    def _stamped(self, chunk: ChatCompletionChunk, value: dict[str, Any]) -> ChatCompletionChunk:
        model = self._model or value.get("model") or self._answering
        if isinstance(model, str):
            chunk.model = self._answering = model
        if isinstance(fingerprint := value.get("system_fingerprint"), str):
            chunk.system_fingerprint = fingerprint
        if isinstance(tier := value.get("service_tier"), str):
            chunk.service_tier = tier
        if isinstance(moderation := value.get("moderation"), dict):
            chunk.moderation.CopyFrom(values.moderation(moderation))
        return chunk

    def read_choice(self, body: dict[str, Any]) -> Iterator[ChatCompletionChunk]:
        """The chunks for one choice of an event. Where a server has its own way, override it."""
        index = body.get("index") or 0
        if type(index) is not int or not 0 <= index < _MOST_CHOICES:
            raise UpstreamInvalid("The upstream sent a choice with an impossible index.")
        delta = body.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        calls = delta.get("tool_calls")
        calls = calls if isinstance(calls, list) else []
        reason = body.get("finish_reason") or None
        said = _said(index, delta, body.get("logprobs"), self._most_likely)
        # Nothing yet but a role: kept until it is known whether text or calls follow.
        if said is None and not calls and reason is None:
            return
        if index not in self._choices:
            no_text = bool(calls) if said is None else _in_place_of_text(said.choices[0].delta)
            for lower in range(len(self._choices), index + 1):
                self._choices[lower] = _Choice()
                yield _opening(lower, with_content=lower != index or not no_text)
        choice = self._choices[index]
        if said is not None:
            self._tokens += 1
            choice.called_function |= said.choices[0].delta.HasField("function_call")
            yield said
        elif calls:
            self._tokens += 1
        for piece in calls:
            if isinstance(piece, dict):
                for mended in choice.calls.add(piece):
                    chunk = ChatCompletionChunk()
                    chunk.choices.add(index=index).delta.tool_calls.append(mended)
                    yield chunk
        if reason is not None and not choice.finished:
            reason = str(reason)
            if reason in _FAILED:
                raise UpstreamUnavailable("The upstream gave up in the middle of its answer.")
            yield from self._finish(index, choice, _FINISH.get(reason, c.FINISH_REASON_STOP))

    def _finish(
        self, index: int, choice: _Choice, reason: c.FinishReason.ValueType
    ) -> Iterator[ChatCompletionChunk]:
        choice.finished = True
        if reason != c.FINISH_REASON_LENGTH:
            for mended in choice.calls.end():
                chunk = ChatCompletionChunk()
                chunk.choices.add(index=index).delta.tool_calls.append(mended)
                yield chunk
        if reason in (c.FINISH_REASON_STOP, c.FINISH_REASON_TOOL_CALLS):
            # OpenAI's own rule, which servers get wrong in every possible way: a call of the
            # tool that was named is a "stop".
            if choice.calls and not self._names_a_tool:
                reason = c.FINISH_REASON_TOOL_CALLS
            elif choice.called_function and not self._names_a_tool:
                reason = c.FINISH_REASON_FUNCTION_CALL
            else:
                reason = c.FINISH_REASON_STOP
        chunk = ChatCompletionChunk()
        chunk.choices.add(index=index, finish_reason=reason).delta.SetInParent()
        yield chunk


class _Choice:
    """What has been seen of one choice."""

    __slots__ = ("called_function", "calls", "finished")

    def __init__(self) -> None:
        self.calls = ToolCallMender()
        self.called_function = False
        self.finished = False


def _is_plain(body: dict[str, Any]) -> bool:
    """Whether what it says is all that happens to its choice."""
    delta = body.get("delta")
    return (
        isinstance(delta, dict)
        and delta.keys() == {"content"}
        and not body.get("finish_reason")
        and not body.get("logprobs")
    )


def _in_place_of_text(delta: Delta) -> bool:
    said = (delta.HasField(field) for field in ("function_call", "refusal", "audio"))
    return any(said) and not delta.HasField("content")


def _opening(index: int, *, with_content: bool) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk()
    choice = chunk.choices.add()
    choice.index = index
    choice.delta.role = ROLE_ASSISTANT
    if with_content:
        choice.delta.content = ""
    return chunk


def _said(
    index: int, delta: dict[str, Any], logprobs: Any, most_likely: int
) -> ChatCompletionChunk | None:
    """The chunk for everything in a delta but tool calls; None if it says nothing."""
    chunk = ChatCompletionChunk()
    choice = chunk.choices.add()
    choice.index = index
    content = delta.get("content")
    if content and isinstance(content, str):
        choice.delta.content = content
        # By far the commonest delta has this and nothing else.
        if len(delta) == 1 and logprobs is None:
            return chunk
    target = choice.delta
    reasoning = values.text(delta.get("reasoning_content") or delta.get("reasoning"))
    if isinstance(content, list):
        content, thought = values.parts(content)
        if content:
            target.content = content
        reasoning = reasoning or thought
    if reasoning:
        target.reasoning_content = reasoning
    if refusal := values.text(delta.get("refusal")):
        target.refusal = refusal
    if found := values.citations(delta.get("annotations")):
        target.annotations.extend(found)
    if isinstance(call := delta.get("function_call"), dict):
        if name := values.text(call.get("name")):
            target.function_call.name = name
        if (arguments := values.text(call.get("arguments"))) is not None:
            target.function_call.arguments = arguments
    if isinstance(audio := delta.get("audio"), dict):
        _hear(choice, audio)
    if isinstance(logprobs, dict) and (logprobs.get("content") or logprobs.get("refusal")):
        choice.logprobs.CopyFrom(values.logprobs(logprobs, most_likely))
        if not target.HasField("content"):
            target.content = ""  # a token that is only a part of a character
    return chunk if target.ByteSize() else None


def _hear(choice: ChunkChoice, audio: dict[str, Any]) -> None:
    for name in ("id", "data", "transcript"):
        if (value := values.text(audio.get(name))) is not None:
            setattr(choice.delta.audio, name, value)
    expires = audio.get("expires_at")
    if isinstance(expires, int) and abs(expires) < 2**63:
        choice.delta.audio.expires_at = expires
