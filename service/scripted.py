"""A model without a model: it says what the request tells it to say.

For demonstrations, load and tests: everything else about it is real. It speaks the last
user message back, word by word, unless the vendor key `scripted` of the request (over gRPC
in `extra_json`, from an OpenAI SDK in `extra_body`) says otherwise:

    {"scripted": {"content": "Hello there", "interval_ms": 20}}

A token is a word with the space before it. Times are exact only as far as the event loop is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Set
from itertools import cycle, islice
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diglot.burst import Burst, TextRun
from diglot.v1 import completion_pb2 as c
from diglot.v1 import message_pb2 as m
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from . import errors
from .call import Call
from .capability import EVERYTHING, Capability
from .readiness import Readiness

_TOKEN = re.compile(r"\s*\S+|\s+")

_FAILURES: dict[str, type[errors.ChatError]] = {
    "ENGINE_LOST": errors.EngineLost,
    "RATE_LIMIT_EXCEEDED": errors.RateLimited,
    "UPSTREAM_UNAVAILABLE": errors.UpstreamUnavailable,
    "NOT_READY": errors.NotReady,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScriptedCall(_Strict):
    """A tool call to make."""

    name: str
    arguments: str = "{}"


class Script(_Strict):
    """What to say, and how. Every key has a default."""

    content: str | None = None
    """The text; by default the last user message."""
    tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Say this many tokens, repeating the text as often as that takes."""
    reasoning: str | None = None
    """Thought that comes before the text."""
    refusal: str | None = None
    """Refuse with these words, and say nothing else."""
    tool_calls: tuple[ScriptedCall, ...] = ()
    """Calls to make, after the text if there is one."""
    interval_ms: Annotated[float, Field(ge=0, le=600_000)] = 0
    """How long each token takes, the first one included."""
    fail: str | None = None
    """Fail with the error of this reason (ENGINE_LOST, …; BUG raises an unexpected one) …"""
    fail_after: Annotated[int, Field(ge=0)] = 0
    """… after this many tokens; 0 fails before the first chunk."""


class _VendorKeys(BaseModel):
    """What is looked at of a request's extra_json."""

    scripted: Script | None = None


class ScriptedEngine:
    """Public and deterministic; see the module's text."""

    def __init__(self, capabilities: Set[Capability] = EVERYTHING) -> None:
        self.readiness = Readiness()
        self.capabilities = capabilities
        self.active = 0
        """Streams under way."""

    async def start(self) -> None:
        self.readiness.up()

    async def close(self) -> None:
        self.readiness.down("closed")

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        script = _script(request)
        self.active += 1
        try:
            if script.fail is not None and script.fail_after == 0:
                _fail(script.fail)
            prompt = sum(len(_TOKEN.findall(_text(message))) for message in request.messages)
            usage = c.Usage(prompt_tokens=prompt)
            delivered = c.Usage(prompt_tokens=prompt)
            call.meter.follow(lambda: delivered if delivered.completion_tokens else None)
            count = request.n if request.HasField("n") else 1
            burst: list[ChatCompletionChunk | TextRun] = []
            burst += (_opening(index, script) for index in range(count))
            for index in range(count):
                spoken = usage.completion_tokens
                for number, said in enumerate(_spoken(request, script, index, usage)):
                    waits = script.interval_ms or number % 32 == 31
                    fails = script.fail is not None and number >= script.fail_after
                    if burst and (waits or fails):
                        delivered.completion_tokens = spoken
                        yield burst
                        burst = []
                    # An instant script comes in bursts, as a fast upstream's chunks do, and
                    # lets others run in between.
                    if waits:
                        await asyncio.sleep(script.interval_ms / 1000)
                    if fails:
                        _fail(script.fail or "")
                    _add(burst, said)
                    spoken = usage.completion_tokens
            delivered.completion_tokens = usage.completion_tokens
            usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
            yield [*burst, ChatCompletionChunk(usage=usage)]
        finally:
            self.active -= 1


def _script(request: CreateChatCompletionRequest) -> Script:
    if not request.HasField("extra_json"):
        return Script()

    try:
        return _VendorKeys.model_validate_json(request.extra_json).scripted or Script()
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(step) for step in first["loc"])
        raise errors.InvalidValue(
            f"Invalid '{path}': {first['msg']}.", field=f"extra_json.{path}"
        ) from None


def _fail(reason: str) -> None:
    if reason in _FAILURES:
        raise _FAILURES[reason](f"The script says: {reason}.", retry_after=1)
    raise RuntimeError(f"scripted bug: {reason}")


def _text(message: m.Message) -> str:
    if message.HasField("content"):
        return message.content
    return "".join(part.text.text for part in message.parts)


def _opening(index: int, script: Script) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk()
    choice = chunk.choices.add(index=index)
    choice.delta.role = m.ROLE_ASSISTANT
    if script.refusal is None and (script.content is not None or not script.tool_calls):
        choice.delta.content = ""
    return chunk


def _add(burst: list[ChatCompletionChunk | TextRun], said: ChatCompletionChunk | TextRun) -> None:
    last = burst[-1] if burst else None
    if type(said) is TextRun and type(last) is TextRun and last.common is said.common:
        last.texts += said.texts
    else:
        burst.append(said)


def _spoken(
    request: CreateChatCompletionRequest, script: Script, index: int, usage: c.Usage
) -> Iterator[ChatCompletionChunk | TextRun]:
    """The chunks of one choice after its opening. Counts tokens into `usage`."""
    text_alone = _saying(request, index, "content", " ")
    limit = request.max_completion_tokens or request.max_tokens or 2**31
    finish: c.FinishReason.ValueType = c.FINISH_REASON_STOP
    spent = 0
    for field, text in _texts(request, script):
        for token in text:
            if spent == limit:
                finish = c.FINISH_REASON_LENGTH
                break
            spent += 1
            usage.completion_tokens += 1
            if field == "content" and not request.logprobs:
                yield TextRun(text_alone, [token])
            else:
                yield _saying(request, index, field, token)
    if script.tool_calls and finish == c.FINISH_REASON_STOP:
        yield from _calls(script, index)
        if not _names_one(request):
            finish = c.FINISH_REASON_TOOL_CALLS
    chunk = ChatCompletionChunk()
    chunk.choices.add(index=index, finish_reason=finish).delta.SetInParent()
    yield chunk


def _texts(
    request: CreateChatCompletionRequest, script: Script
) -> Iterator[tuple[str, Iterator[str]]]:
    """The fields that say something, each with its tokens."""
    if script.refusal is not None:
        yield "refusal", _tokens(script.refusal)
        return
    if script.reasoning is not None:
        yield "reasoning_content", _tokens(script.reasoning)
    text = script.content
    if text is None and not script.tool_calls:
        users = [message for message in request.messages if message.role == m.ROLE_USER]
        text = _text(users[-1]) if users else ""
    if text is None:
        return
    if script.tokens is None:
        yield "content", _tokens(_until_stop(request, text))
    else:
        yield "content", _repeated(request, text, script.tokens)


def _tokens(text: str) -> Iterator[str]:
    return map(re.Match.group, _TOKEN.finditer(text))


def _until_stop(request: CreateChatCompletionRequest, text: str) -> str:
    for stop in request.stop:
        text = text.partition(stop)[0]
    return text


def _repeated(request: CreateChatCompletionRequest, text: str, count: int) -> Iterator[str]:
    """So many tokens, or fewer where it is told to stop: made as they are asked for."""
    words = _TOKEN.findall(text) or [" word"]
    if len(words) > 1 and not words[0][0].isspace():
        words[0] = " " + words[0]
    if request.stop:
        # What is anywhere in it begins in the first round.
        longest = max(map(len, request.stop))
        rounds = 2 + longest // sum(map(len, words))
        begins = "".join(islice(cycle(words), min(count, rounds * len(words))))
        cut = _until_stop(request, begins)
        if len(cut) < len(begins):
            return _tokens(cut)
    return islice(cycle(words), count)


def _saying(
    request: CreateChatCompletionRequest, index: int, field: str, token: str
) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk()
    choice = chunk.choices.add()
    choice.index = index
    if field == "content":
        choice.delta.content = token
    elif field == "refusal":
        choice.delta.refusal = token
    else:
        choice.delta.reasoning_content = token
    if request.logprobs and field in ("content", "refusal"):
        entry = c.TokenLogprob(token=token, logprob=0.0, bytes=token.encode())
        if request.top_logprobs:
            entry.top_logprobs.add(token=token, logprob=0.0, bytes=token.encode())
        getattr(choice.logprobs, field).append(entry)
    return chunk


def _calls(script: Script, index: int) -> Iterator[ChatCompletionChunk]:
    for place, call in enumerate(script.tool_calls):
        header = ChatCompletionChunk()
        piece = header.choices.add(index=index).delta.tool_calls.add(index=place)
        piece.id = f"call_scripted_{index}_{place}"
        piece.function.name = call.name
        piece.function.arguments = ""
        yield header
        for start in range(0, len(call.arguments), 8):
            chunk = ChatCompletionChunk()
            piece = chunk.choices.add(index=index).delta.tool_calls.add(index=place)
            piece.function.arguments = call.arguments[start : start + 8]
            yield chunk


def _names_one(request: CreateChatCompletionRequest) -> bool:
    """Whether tool_choice names the tool: OpenAI then finishes with "stop"."""
    return request.tool_choice.WhichOneof("choice") in ("function_name", "custom_name")
