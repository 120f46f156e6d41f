"""llama.cpp's server as an upstream: how it must be asked, and what is its own in the answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from pydantic_core import from_json

from diglot.burst import Burst, TextRun, chunks_of
from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..errors import UpstreamInvalid
from ..extra import extended
from ..upstream.alike import Alike
from ..upstream.chunk_reader import ChunkReader
from ..upstream.request_json import Json, to_json
from ..upstream.values import count, text
from .answer_form import AnswerForm
from .call_reader import CallReader
from .sampling import Sampling
from .tool_prompt import prompted

# Tokens of the prompt that were cached and those that were not, and those of the answer.
_TIMED = ("cache", "prompt", "predicted")

# The fingerprint of a build that does not know what it was built from: all of them have it.
_NO_BUILD = "b0-unknown"

# It cuts seeds to 32 bits, and takes the highest of those for "any".
_SEEDS = 2**32 - 1

# What of OpenAI's request it does by itself, and rightly.
PASSED = {
    *("temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "seed"),
    *("stop", "max_completion_tokens", "max_tokens", "n", "logprobs", "top_logprobs"),
}
# Keys of llama.cpp's own that change sampling and nothing else. Others, some of which reach
# into the server's slots and files, go no further.
VENDOR_KEYS = {
    *("top_k", "min_p", "top_n_sigma", "typical_p", "repeat_penalty", "repeat_last_n"),
    *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
    *("xtc_probability", "xtc_threshold", "dynatemp_range", "dynatemp_exponent"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "ignore_eos"),
}


def to_llama(
    request: CreateChatCompletionRequest,
    form: AnswerForm,
    grammar: str | None,
    sampling: Sampling,
) -> Json:
    """The request as llama.cpp must be asked so that it does what OpenAI's API says."""
    asked = to_json(_without_extra(request))
    body: dict[str, Any] = {
        key: value for key, value in asked.items() if key in PASSED or key in VENDOR_KEYS
    }
    sampling.fill(body, form)
    if "seed" in body:
        body["seed"] %= _SEEDS
    if request.logprobs:
        # Absent or 0 it takes for 20; the reader cuts what was not asked for.
        body["top_logprobs"] = max(1, request.top_logprobs)
    # It notices that a client has left only when it writes, so let it write while it reads
    # the prompt.
    body["return_progress"] = True
    # And tells with each token what was spent: of an answer that ends early it is all we hear.
    body["timings_per_token"] = True
    body["messages"] = prompted(asked, form)
    if grammar is not None:
        body["grammar"] = grammar
    return body


def _without_extra(request: CreateChatCompletionRequest) -> CreateChatCompletionRequest:
    """Without keys that llama.cpp does not know, or should not: descriptions of tools would
    tell the model of them."""
    if not any(extended(request)):
        return request
    plain = CreateChatCompletionRequest()
    plain.CopyFrom(request)
    for _, part in extended(plain):
        part.ClearField("extra_json")
    return plain


class LlamaChunkReader(ChunkReader):
    """What is llama.cpp's own in a stream: with n > 1 a usage for each choice, of that choice
    alone; and calls as text, which the form of the answer tells how to read."""

    keeps_unknown = False  # its timings and its progress are for us, who asked for them

    def __init__(
        self, request: CreateChatCompletionRequest, model: str, form: AnswerForm | None = None
    ) -> None:
        super().__init__(request, model)
        self._calls = form is not None and bool(form.calls)
        self._deprecated = bool(request.functions)
        self._readers: dict[int, CallReader] = {}
        self._timings: dict[int, bytes | Json] = {}
        self._timed = b""
        if not self._calls:
            self._alike = Alike()

    def read(self, events: Sequence[bytes]) -> Iterator[ChatCompletionChunk | TextRun]:
        for event in events:
            # With the times that each token's event has of its own, none would be like another.
            rest, self._timed = _apart(event)
            for said in super().read((rest,)):
                if type(said) is TextRun:
                    self._timings[said.common.choices[0].index] = self._timed
                yield said
        self._timed = b""

    def count(self, usage: c.Usage) -> None:
        self.usage = usage if self.usage is None else summed(self.usage, usage)

    def delivered(self) -> c.Usage | None:
        total: c.Usage | None = None
        for timings in self._timings.values():
            usage = _spent(timings)
            if usage is not None:
                total = usage if total is None else summed(total, usage)
        return total

    def _stamp(self, chunks: Sequence[ChatCompletionChunk], value: Json) -> None:
        timings = self._timed or value.get("timings")
        if isinstance(timings, bytes | dict):
            for chunk in chunks:
                # The role comes before the first token, in the same event.
                if chunk.choices and not chunk.choices[0].delta.role:
                    self._timings[chunk.choices[0].index] = timings
        if value.get("system_fingerprint") == _NO_BUILD:
            del value["system_fingerprint"]
        super()._stamp(chunks, value)

    def read_choice(self, body: Json, said: list[ChatCompletionChunk]) -> None:
        index, delta = body.get("index"), body.get("delta")
        if not self._calls or type(index) is not int or not isinstance(delta, dict):
            super().read_choice(body, said)
            return
        reader = self._readers.get(index)
        if reader is None:
            reader = self._readers[index] = CallReader(deprecated=self._deprecated)
        logprobs = body.get("logprobs")
        entries = logprobs.get("content") if isinstance(logprobs, dict) else None
        try:
            pieces = [
                *reader.read(
                    text(delta.get("content")) or "", entries if isinstance(entries, list) else []
                )
            ]
        except ValueError:
            raise UpstreamInvalid("The model's server sent a call that is not JSON.") from None
        if body.get("finish_reason"):
            pieces += reader.end(cut=body["finish_reason"] == "length")
        for piece, own in pieces:
            likely = {"content": own} if own else None
            super().read_choice({"index": index, "delta": piece, "logprobs": likely}, said)
        super().read_choice({**body, "delta": {}, "logprobs": None}, said)


def _apart(event: bytes) -> tuple[bytes, bytes]:
    """An event without its timings, and those: they come last, and hold nothing but numbers."""
    rest, _, timings = event.partition(b',"timings":')
    if timings.count(b"{") == 1 and timings.count(b"}") == 2 and timings.endswith(b"}}"):
        return rest + b"}", timings[:-1]
    return event, b""


def _spent(timings: bytes | Json) -> c.Usage | None:
    """None, if there is no answer yet."""
    if isinstance(timings, bytes):
        try:
            timings = from_json(timings)
        except ValueError:
            return None
    if not isinstance(timings, dict) or not timings.get("predicted_n"):
        return None
    cached, fresh, answer = (count(timings.get(f"{name}_n")) or 0 for name in _TIMED)
    prompt = count(cached + fresh) or 0
    total = count(prompt + answer) or 0
    usage = c.Usage(prompt_tokens=prompt, completion_tokens=answer, total_tokens=total)
    usage.prompt_tokens_details.cached_tokens = cached
    return usage


def summed(one: c.Usage, other: c.Usage) -> c.Usage:
    """The usage of several answers to one prompt."""
    total = c.Usage()
    total.CopyFrom(one)
    total.completion_tokens = count(total.completion_tokens + other.completion_tokens) or 0
    total.total_tokens = count(total.prompt_tokens + total.completion_tokens) or 0
    return total


async def in_turns(
    body: Json,
    parallel: int,
    asked: Callable[[Json], AsyncGenerator[Burst, None]],
) -> AsyncGenerator[Burst, None]:
    """The answers that a request asks for, at most `parallel` at a time."""
    answers = body.get("n", 1)
    usage = None
    for first in range(0, answers, parallel):
        turn = body if answers <= parallel else {**body, "n": min(parallel, answers - first)}
        if first and "seed" in body:  # or each turn would say the same
            turn["seed"] = (body["seed"] + first) % _SEEDS
        async with aclosing(asked(turn)) as bursts:
            async for burst in bursts:
                chunks = []
                for chunk in chunks_of(burst):
                    for choice in chunk.choices:
                        choice.index += first
                    if chunk.HasField("usage"):
                        usage = chunk.usage if usage is None else summed(usage, chunk.usage)
                    else:
                        chunks.append(chunk)
                if chunks:
                    yield chunks
    yield [ChatCompletionChunk(usage=usage)]
