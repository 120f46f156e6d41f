"""An upstream's chunks, from JSON to the contract, mended on the way.

Servers that call themselves OpenAI-compatible differ in every detail that OpenAI leaves to
habit. Clients do not forgive it, so here, and only here, streams are brought into OpenAI's
form: the role once, on each choice's first chunk, in order of index; content "" there, or
null where tool calls follow; the finish reason once, alone, one of five, when the choice has said
all; usage last, alone. Keys that are not known go through, beside what they came with, or with the
next chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from diglot.burst import TextRun
from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..errors import UpstreamInvalid, UpstreamUnavailable
from . import values
from .alike import Alike
from .delta import bare, ending, in_place_of_text, opening, read_delta
from .endings import Endings
from .refusal import error_in
from .tool_calls import ToolCallMender
from .unknown_keys import DELTA, EVENT, UnknownKeys

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

    keeps_unknown = True
    """Whether keys that are not known go through."""

    def __init__(self, request: CreateChatCompletionRequest, model: str | None = None) -> None:
        self._request = request
        self._model = model
        self._answering = model or ""
        self._choices: dict[int, _Choice] = {}
        self.usage: c.Usage | None = None
        self._tokens = 0
        self._done = False
        self._endings = Endings()
        self._unknown = UnknownKeys()
        # Where a subclass makes something else of a choice, the like of it may mean another thing.
        own = type(self) is not ChunkReader
        self._alike = None if own else Alike()

    def read(self, events: Sequence[bytes]) -> Iterator[ChatCompletionChunk | TextRun]:
        """The chunks that the events come to: none, one, or several each."""
        at = 0
        while at < len(events):
            run = None
            if self._alike is not None and not self._unknown.event:  # what waits goes with the next
                run = self._alike.read(events, at)
            if run is not None:
                self._tokens += len(run.texts)
                at += len(run.texts)
                yield run
            else:
                yield from self._read(events[at])
                at += 1

    def _read(self, data: bytes) -> Iterator[ChatCompletionChunk]:
        if data.startswith(b"[DONE]"):
            self._done = True
            yield from self._unsaid()
            yield from self._endings.release()
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
        waited = bool(self._unknown.event)
        if self.keeps_unknown and not EVENT.issuperset(value):
            self._unknown.add(value)
        choices = value.get("choices")
        if isinstance(choices, list):
            opened = len(self._choices)
            for choice in choices:
                if isinstance(choice, dict):
                    chunks = self.read_choice(choice)
                    if self.keeps_unknown and self._unknown.touches(choice):
                        chunks = self._unknown.beside(choice, chunks, self._choices)
                    for chunk in chunks:
                        self._stamped(chunk, value)
                        if (
                            self._alike is not None
                            and len(choices) == 1
                            and len(self._choices) == opened
                            and _is_plain(choice)
                            and not waited
                        ):
                            self._alike.learn(data, chunk)
                        if not (choice.get("finish_reason") and self._endings.keep(chunk)):
                            yield chunk
        if self._unknown.event:
            self._unknown.wait(self._unknown.event)

    def end(self) -> Iterator[ChatCompletionChunk]:
        """What comes after the last event. Raises if the answer is not whole."""
        if not self._done and not all(choice.finished for choice in self._choices.values()):
            raise UpstreamUnavailable("The upstream broke off in the middle of its answer.")
        if not self._choices:
            raise UpstreamInvalid("The upstream ended without an answer.")
        yield from self._unsaid()
        yield from self._endings.release()
        for index, choice in self._choices.items():
            if not choice.finished:
                for chunk in self._finish(index, choice, c.FINISH_REASON_STOP):
                    yield self._stamped(chunk, {})
        if self.usage is not None:
            yield self._stamped(ChatCompletionChunk(usage=self.usage), {})

    def _unsaid(self) -> Iterator[ChatCompletionChunk]:
        """What came with the usage, or after all: with a usage that nobody asked for it is lost."""
        if not self._unknown.event or not self._choices:
            return
        if self.usage is None or not self._request.stream_options.include_usage:
            yield self._stamped(bare(min(self._choices)), {})

    @property
    def _names_a_tool(self) -> bool:
        choice = self._request.tool_choice.WhichOneof("choice")
        named = self._request.function_call.WhichOneof("choice") == "name"
        return named or choice in ("function_name", "custom_name")

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
        if self._unknown.event:
            self._unknown.put_on(chunk)
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
        logprobs = body.get("logprobs")
        said = None
        if logprobs is not None or not calls or len(delta) > 1:
            likely = 0 if logprobs is None else self._request.top_logprobs
            said = read_delta(index, delta, logprobs, likely, keep_unknown=self.keeps_unknown)
        # Nothing yet but a role: kept until it is known whether text or calls follow.
        if said is None and not calls and reason is None:
            return
        if index not in self._choices:
            if said is None:
                no_text = bool(calls)
            else:
                text = values.text(delta.get("content"))
                no_text = not text and in_place_of_text(said.choices[0].delta)
            for lower in range(len(self._choices), index + 1):
                self._choices[lower] = _Choice()
                yield opening(lower, with_content=lower != index or not no_text)
        choice = self._choices[index]
        if said is not None:
            self._tokens += 1
            if delta.get("function_call"):
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
            if choice.finished and not self._names_a_tool:
                self._endings.called(index)
        if reason is not None and not choice.finished:
            reason = str(reason)
            if reason in _FAILED:
                raise UpstreamUnavailable("The upstream gave up in the middle of its answer.")
            yield from self._finish(index, choice, _FINISH.get(reason, c.FINISH_REASON_STOP))

    def _finish(
        self, index: int, choice: _Choice, reason: c.FinishReason.ValueType
    ) -> Iterator[ChatCompletionChunk]:
        choice.finished = True
        if choice.calls and reason != c.FINISH_REASON_LENGTH:
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
        yield ending(index, reason)


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
    if not isinstance(delta, dict) or not delta.get("content"):
        return False
    if body.get("finish_reason") or body.get("logprobs") or "text" in body:
        return False
    # Some servers write every key with each token.
    return len(delta) == 1 or all(
        value is None or key in ("content", "role") or key not in DELTA
        for key, value in delta.items()
    )
