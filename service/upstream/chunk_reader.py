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

from ..errors import InvalidAnswer, UpstreamInvalid, UpstreamUnavailable
from . import values, whole
from .alike import Alike
from .delta import bare, calling, ending, in_place_of_text, open_with, opening, read_delta
from .endings import Endings
from .refusal import error_in
from .surrogates import Halves
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
    # Gemini's own words.
    **dict.fromkeys(
        ("safety", "recitation", "blocklist", "prohibited_content", "spii"),
        c.FINISH_REASON_CONTENT_FILTER,
    ),
}
_FAILED = {
    *("abort", "aborted", "error", "cancelled"),
    *("insufficient_system_resource", "network_error"),
}

_MOST_CHOICES = 128


class ChunkReader:
    """Reads one stream. `model` is what chunks say answers; by default what the upstream says.

    Of an answer that goes out `in_one_piece` only what its chunks add up to is brought into that
    form: they are as few as can say it.
    """

    keeps_unknown = True
    """Whether keys that are not known go through."""

    def __init__(
        self,
        request: CreateChatCompletionRequest,
        model: str | None = None,
        *,
        in_one_piece: bool = False,
    ) -> None:
        self._request = request
        self._model = model
        self._answering = model or ""
        self._in_one_piece = in_one_piece
        self._came_whole = False
        self._choices: dict[int, _Choice] = {}
        self.usage: c.Usage | None = None
        self._tokens = 0
        self.done = False
        self._endings = Endings()
        self._moderation: c.Moderation | None = None
        self._unknown = UnknownKeys()
        self._halves = Halves()
        # Where a subclass makes something else of a choice, the like of it may mean another thing.
        own = type(self) is not ChunkReader
        self._alike = None if own else Alike()

    def read(self, events: Sequence[bytes]) -> Iterator[ChatCompletionChunk | TextRun]:
        """The chunks that the events come to: none, one, or several each."""
        at = 0
        while at < len(events):
            alike = self._alike
            if self._unknown.event or self._moderation is not None or self._halves:
                alike = None  # what waits goes with the next
            if alike is not None and (run := alike.read(events, at)) is not None:
                self._tokens += len(run.texts)
                at += len(run.texts)
                yield run
                continue
            said: list[ChatCompletionChunk] = []
            try:
                self._read(events[at], said, alike)
            finally:
                yield from said  # it was said before what failed
            at += 1

    def _read(self, data: bytes, said: list[ChatCompletionChunk], alike: Alike | None) -> None:
        """Adds what an event comes to, and has `alike` learn it if others may be like it."""
        if data.startswith(b"[DONE]"):
            self.done = True
            if not self._in_one_piece:
                self._close(said)
            return
        try:
            value = self._halves.read(data) if self._halves else from_json(data)
        except ValueError:
            value = self._halves.read(data)  # perhaps it is one that has to wait
        if not isinstance(value, dict):
            raise UpstreamInvalid("The upstream sent an event that is not an object.")
        opened = len(self._choices)
        self._say(value, said)
        if alike is not None and len(said) == 1 and len(self._choices) == opened:
            [choice, *others] = value["choices"]
            if not others and _is_plain(choice):
                alike.learn(data, said[0])

    def read_whole(self, body: bytes) -> list[ChatCompletionChunk]:
        """The chunks for a completion that came in one piece, to its end."""
        self._came_whole = self._in_one_piece = True
        said: list[ChatCompletionChunk] = []
        self._say(whole.read(body), said)
        if self.usage is None:
            self._tokens = 0  # nobody knows how many they were
        return said + self.end()

    def _say(self, value: dict[str, Any], said: list[ChatCompletionChunk]) -> None:
        """Adds what an event says."""
        if error := value.get("error"):
            raise error_in(error)
        usage = value.get("usage")
        if isinstance(usage, dict):
            self.count(values.usage(usage))
        if isinstance(moderation := value.get("moderation"), dict):
            # For one chunk, the next: on each it would add up.
            self._moderation = values.moderation(moderation)
        if self.keeps_unknown and not EVENT.issuperset(value):
            self._unknown.add(value)
        choices = value.get("choices")
        if choices and isinstance(choices, list):
            ends = False
            try:
                for choice in choices:
                    if isinstance(choice, dict):
                        begins = len(said)
                        self.read_choice(choice, said)
                        if self.keeps_unknown and self._unknown.touches(choice):
                            self._unknown.put_beside(choice, said, begins, self._choices)
                        ends |= bool(choice.get("finish_reason"))
            finally:
                if said:
                    self._stamp(said, value)
            if ends:
                said[:] = [chunk for chunk in said if not self._endings.keep(chunk)]
        if self._unknown.event:
            self._unknown.wait(self._unknown.event)

    def end(self) -> list[ChatCompletionChunk]:
        """What comes after the last event. Raises if the answer is not whole."""
        if not self.done and not all(choice.finished for choice in self._choices.values()):
            raise UpstreamUnavailable("The upstream broke off in the middle of its answer.")
        if not self._choices:
            raise UpstreamInvalid("The upstream ended without an answer.")
        said: list[ChatCompletionChunk] = []
        self._close(said)
        for index, choice in self._choices.items():
            if not choice.finished:
                begins = len(said)
                self._finish(index, choice, c.FINISH_REASON_STOP, said)
                self._stamp(said[begins:], {})
        if self.usage is not None:
            if not (self._in_one_piece and said):
                said.append(ChatCompletionChunk())
                self._stamp(said[-1:], {})
            said[-1].usage.CopyFrom(self.usage)
        return said

    def _close(self, said: list[ChatCompletionChunk]) -> None:
        """Adds what waited for the end. What came with the usage, or after all, needs a chunk of
        its own: with a usage that nobody asked for it is lost."""
        if self._halves:
            self._say(self._halves.give_up(), said)
        waits = self._unknown.event or self._moderation is not None
        lost = self.usage is None or not self._request.stream_options.include_usage
        if waits and lost and self._choices:
            said.append(bare(min(self._choices)))
            self._stamp(said, {})
        said += self._endings.release()

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

    def _stamp(self, chunks: Sequence[ChatCompletionChunk], value: dict[str, Any]) -> None:
        """Writes on them, of which there is one at least, what their event says besides its
        choices."""
        model = self._model or value.get("model") or self._answering
        if isinstance(model, str):
            self._answering = model
            for chunk in chunks:
                chunk.model = model
        if isinstance(fingerprint := value.get("system_fingerprint"), str):
            for chunk in chunks:
                chunk.system_fingerprint = fingerprint
        if isinstance(tier := value.get("service_tier"), str):
            for chunk in chunks:
                chunk.service_tier = tier
        if self._moderation is not None:
            chunks[0].moderation.CopyFrom(self._moderation)
            self._moderation = None
        if self._unknown.event:
            self._unknown.put_on(chunks[0])

    def read_choice(self, body: dict[str, Any], said: list[ChatCompletionChunk]) -> None:
        """Adds the chunks for one choice of an event. Where a server has its own way, override
        it."""
        index = body.get("index") or 0
        if type(index) is not int or not 0 <= index < _MOST_CHOICES:
            raise UpstreamInvalid("The upstream sent a choice with an impossible index.")
        delta = body.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        calls = delta.get("tool_calls")
        calls = calls if isinstance(calls, list) else []
        reason = body.get("finish_reason") or None
        logprobs = body.get("logprobs")
        chunk = None
        if logprobs is not None or not calls or len(delta) > 1:
            likely = 0 if logprobs is None else self._request.top_logprobs
            chunk = read_delta(index, delta, logprobs, likely, keep_unknown=self.keeps_unknown)
        # Nothing yet but a role: kept until it is known whether text or calls follow.
        if chunk is None and not calls and reason is None:
            return
        choice = self._choices.get(index)
        if choice is None:
            choice = self._open(index, delta, chunk, said, no_text=bool(calls))
        if chunk is not None:
            self._tokens += 1
            if delta.get("function_call"):
                choice.called_function |= chunk.choices[0].delta.HasField("function_call")
            said.append(chunk)
        elif calls:
            self._tokens += 1
        for piece in calls:
            if isinstance(piece, dict):
                if choice.calls is None:
                    choice.calls = ToolCallMender()
                mended = choice.calls.add(piece, whole=self._came_whole)
                said += [calling(index, each) for each in mended]
            if choice.finished and choice.calls and not self._names_a_tool:
                self._endings.called(index)
        if reason is not None and not choice.finished:
            reason = str(reason)
            self._finish(index, choice, _FINISH.get(reason) or _meant(reason), said)

    def _open(
        self,
        index: int,
        delta: dict[str, Any],
        chunk: ChatCompletionChunk | None,
        said: list[ChatCompletionChunk],
        *,
        no_text: bool,
    ) -> _Choice:
        """Begins a choice, and those before it. `chunk` is what the delta says, if it says any;
        without it, `no_text` tells whether that is because something else comes instead."""
        if self._came_whole:
            no_text = delta.get("content") is None
        elif chunk is not None:
            first = chunk.choices[0].delta
            no_text = not values.text(delta.get("content")) and in_place_of_text(first)
        for lower in range(len(self._choices), index):
            self._choices[lower] = _Choice()
            said.append(opening(lower, with_content=True))
        if chunk is None or not self._in_one_piece:
            said.append(opening(index, with_content=not no_text))
        else:
            open_with(chunk, with_content=not no_text)
        choice = self._choices[index] = _Choice()
        return choice

    def _finish(
        self,
        index: int,
        choice: _Choice,
        reason: c.FinishReason.ValueType,
        said: list[ChatCompletionChunk],
    ) -> None:
        choice.finished = True
        if choice.calls is not None and reason != c.FINISH_REASON_LENGTH:
            said += [calling(index, each) for each in choice.calls.end()]
        if reason not in (c.FINISH_REASON_LENGTH, c.FINISH_REASON_CONTENT_FILTER):
            # OpenAI's own rule, which servers get wrong in every possible way: a call of the
            # tool that was named is a "stop".
            if choice.calls and not self._names_a_tool:
                reason = c.FINISH_REASON_TOOL_CALLS
            elif choice.called_function and not self._names_a_tool:
                reason = c.FINISH_REASON_FUNCTION_CALL
            else:
                reason = c.FINISH_REASON_STOP
        said.append(ending(index, reason))


def _meant(reason: str) -> c.FinishReason.ValueType:
    """What another reason than OpenAI's says. Raises for what is the end of no answer."""
    word, _, _ = reason.lower().partition(":")  # "content_filter: RECITATION", as Gemini has it
    if word in _FAILED:
        raise UpstreamUnavailable("The upstream gave up in the middle of its answer.")
    if word == "function_call_filter":
        raise InvalidAnswer("The model called a tool in a way that its server does not understand.")
    return _FINISH.get(word, c.FINISH_REASON_STOP)


class _Choice:
    """What has been seen of one choice."""

    __slots__ = ("called_function", "calls", "finished")

    def __init__(self) -> None:
        self.calls: ToolCallMender | None = None
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
