"""The events of the Messages API, from JSON to the contract's chunks.

    message_start                     model, and what the prompt cost
      content_block_start             text, thinking, tool_use …
        content_block_delta           a piece of it
      content_block_stop              where signed thought is whole
    message_delta                     why it stopped, and what it cost in the end
    message_stop

`ping` and `error` come at any time. Events, blocks and deltas that are not known are passed
over, as the API asks of its clients: they are how it grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.message_pb2 import ROLE_ASSISTANT

from ..errors import UpstreamInvalid, UpstreamUnavailable
from ..extra import Json, written
from ..upstream.tool_calls import ToolCallMender
from ..upstream.values import count, text
from .halves import Halves
from .refusal import error_in
from .thought import KINDS, Place, ThinkingBlock, said

_FINISH: dict[str, c.FinishReason.ValueType] = {
    "max_tokens": c.FINISH_REASON_LENGTH,
    "model_context_window_exceeded": c.FINISH_REASON_LENGTH,
    "refusal": c.FINISH_REASON_CONTENT_FILTER,
}
_TIERS = {"standard": "default", "priority": "priority"}


class MessageReader:
    """Reads one stream."""

    def __init__(self, request: CreateChatCompletionRequest) -> None:
        self._names_a_tool = request.tool_choice.WhichOneof("choice") == "function_name"
        self._halves = Halves()
        self._calls = ToolCallMender()
        self._tool_blocks: set[int] = set()
        self._thinking: ThinkingBlock | None = None
        self._thinking_blocks: list[Json] = []
        self._thinking_places: list[Place] = []
        self._characters = 0
        self._usage: dict[str, int] = {}
        self._thought: int | None = None
        self._model = ""
        self._tier: str | None = None
        self._opened = False
        self._tokens = 0
        self._finished = False
        self.done = False

    def read(self, events: Sequence[bytes]) -> Iterator[ChatCompletionChunk]:
        """The chunks that the events come to: none, one, or several each."""
        for data in events:
            try:
                found = self._halves.read(data) if self._halves else [from_json(data)]
            except ValueError:
                found = self._halves.read(data)  # perhaps it is one that has to wait
            for event in found:
                yield from self._read(event)

    def _read(self, event: Any) -> Iterator[ChatCompletionChunk]:
        if not isinstance(event, dict):
            raise UpstreamInvalid("The upstream sent an event that is not an object.")
        match event.get("type"):
            case "content_block_delta":
                yield from self._grow(event.get("index"), _object(event.get("delta")))
            case "content_block_start":
                yield from self._begin(event.get("index"), _object(event.get("content_block")))
            case "content_block_stop":
                self._sign(event.get("index"))
            case "message_start":
                message = _object(event.get("message"))
                self._model = text(message.get("model")) or ""
                self._count(_object(message.get("usage")))
            case "message_delta":
                self._count(_object(event.get("usage")))
                reason = text(_object(event.get("delta")).get("stop_reason"))
                if reason is not None:
                    yield from self._finish(reason)
            case "message_stop":
                self.done = True
            case "error":
                raise error_in(event.get("error"))

    def end(self) -> Iterator[ChatCompletionChunk]:
        """What comes after the last event. Raises if the answer is not whole."""
        if not self._finished:
            if self.done:
                raise UpstreamInvalid("The upstream ended without saying why.")
            raise UpstreamUnavailable("The upstream broke off in the middle of its answer.")
        if self._usage:
            yield ChatCompletionChunk(model=self._model, usage=self._spent())

    def delivered(self) -> c.Usage | None:
        """What it has come to so far: the prompt as told, and a token for each event."""
        if not self._tokens:
            return None
        usage = self._spent()
        if not self._finished:
            usage.completion_tokens = self._tokens
            usage.total_tokens = usage.prompt_tokens + self._tokens
        return usage

    def _begin(self, index: Any, block: dict[str, Any]) -> Iterator[ChatCompletionChunk]:
        kind = text(block.get("type"))
        place = [self._characters, len(self._calls)]
        self._thinking = ThinkingBlock(index, block, place) if kind in KINDS else None
        if kind == "text":
            yield from self._say("content", block.get("text"))
        elif kind == "thinking":
            yield from self._say("reasoning_content", block.get("thinking"))
        elif kind == "tool_use":
            if not isinstance(index, int) or not text(block.get("name")):
                raise UpstreamInvalid("The upstream sent a tool call without a name or place.")
            self._tool_blocks.add(index)
            function = {"name": block["name"], "arguments": block.get("input") or ""}
            yield from self._call({"index": index, "id": block.get("id"), "function": function})

    def _grow(self, index: Any, delta: dict[str, Any]) -> Iterator[ChatCompletionChunk]:
        match delta.get("type"):
            case "text_delta":
                yield from self._say("content", delta.get("text"))
            case "thinking_delta":
                self._think(index, "thinking", delta)
                yield from self._say("reasoning_content", delta.get("thinking"))
            case "signature_delta":
                self._think(index, "signature", delta)
            case "input_json_delta" if isinstance(index, int) and index in self._tool_blocks:
                function = {"arguments": delta.get("partial_json")}
                yield from self._call({"index": index, "function": function})

    def _think(self, index: Any, key: str, delta: dict[str, Any]) -> None:
        if self._thinking is not None and self._thinking.index == index:
            self._thinking.grow(key, delta.get(key))

    def _sign(self, index: Any) -> None:
        if self._thinking is not None and self._thinking.index == index:
            place, block = self._thinking.place, self._thinking.whole()
            self._thinking = None
            if block is not None:
                self._thinking_blocks.append(block)
                self._thinking_places.append(place)

    def _say(self, field: str, piece: Any) -> Iterator[ChatCompletionChunk]:
        if piece and isinstance(piece, str) and not self._finished:
            yield from self._open(with_content=True)
            self._tokens += 1
            if field == "content":
                self._characters += len(piece)
            chunk = self._chunk()
            setattr(chunk.choices.add().delta, field, piece)
            yield chunk

    def _call(self, piece: dict[str, Any]) -> Iterator[ChatCompletionChunk]:
        if not self._finished:
            yield from self._open(with_content=False)
            self._tokens += 1
            yield from self._pieces(self._calls.add(piece))

    def _pieces(self, deltas: Iterator[Any]) -> Iterator[ChatCompletionChunk]:
        for delta in deltas:
            chunk = self._chunk()
            chunk.choices.add().delta.tool_calls.append(delta)
            yield chunk

    def _open(self, *, with_content: bool) -> Iterator[ChatCompletionChunk]:
        """The role; and content "", or null where a call comes first."""
        if not self._opened:
            self._opened = True
            chunk = self._chunk()
            delta = chunk.choices.add().delta
            delta.role = ROLE_ASSISTANT
            if with_content:
                delta.content = ""
            yield chunk

    def _finish(self, stop_reason: str) -> Iterator[ChatCompletionChunk]:
        if self._finished:
            return
        yield from self._open(with_content=True)  # it may have nothing to say
        reason = _FINISH.get(stop_reason)
        if reason != c.FINISH_REASON_LENGTH:
            yield from self._pieces(self._calls.end())
        if self._thinking_blocks:
            # All at once: OpenAI's SDK fails at a list of objects that goes on in another delta.
            chunk = self._chunk()
            extra = said(self._thinking_blocks, self._thinking_places)
            chunk.choices.add().delta.extra_json = written(extra)
            yield chunk
        if reason is None:
            # OpenAI's own rule: a call of the tool that was named is a "stop".
            called = self._calls and not self._names_a_tool
            reason = c.FINISH_REASON_TOOL_CALLS if called else c.FINISH_REASON_STOP
        self._finished = True
        chunk = self._chunk()
        chunk.choices.add(finish_reason=reason).delta.SetInParent()
        yield chunk

    def _chunk(self) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(model=self._model)
        if self._tier is not None:
            chunk.service_tier = self._tier
        return chunk

    def _count(self, usage: dict[str, Any]) -> None:
        """Numbers are of the whole so far; those that did not change may be absent."""
        for key in _TOKENS:
            if (number := count(usage.get(key))) is not None:
                self._usage[key] = number
        thought = count(_object(usage.get("output_tokens_details")).get("thinking_tokens"))
        self._thought = self._thought if thought is None else thought
        if (tier := text(usage.get("service_tier"))) is not None:
            self._tier = _TIERS.get(tier, tier)

    def _spent(self) -> c.Usage:
        fresh, read, written, generated = (self._usage.get(key, 0) for key in _TOKENS)
        prompt = count(fresh + read + written) or 0
        usage = c.Usage(
            prompt_tokens=prompt,
            completion_tokens=generated,
            total_tokens=count(prompt + generated) or 0,
        )
        if "cache_read_input_tokens" in self._usage:
            usage.prompt_tokens_details.cached_tokens = read
        if "cache_creation_input_tokens" in self._usage:
            usage.prompt_tokens_details.cache_write_tokens = written
        if self._thought is not None:
            usage.completion_tokens_details.reasoning_tokens = self._thought
        return usage


_TOKENS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
