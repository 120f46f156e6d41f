"""What upstreams send, given to the readers of streams: as events, and as pieces of bytes."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

from conformance.shapes import shapes

from diglot.burst import Burst, TextRun, chunks_of
from diglot.facade import to_json
from diglot.facade.chunk_to_json import ChunkEncoder, line
from diglot.service.anthropic.event_reader import MessageReader
from diglot.service.embedded.answer_form import AnswerForm
from diglot.service.embedded.llama import LlamaChunkReader
from diglot.service.errors import ChatError
from diglot.service.fold import Fold
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.service.upstream.exchange import Reader
from diglot.service.upstream.sse import EventReader
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.tool_pb2 import FunctionDefinition, Tool

from .target import Fault, Target

MakeReader = Callable[[CreateChatCompletionRequest], Reader]


class SlowChunkReader(ChunkReader):
    """Without its short cuts, which it has for itself alone."""


class StreamTarget:
    """A dialect's reader: whatever comes, it yields chunks by the rules, or a ChatError."""

    def __init__(
        self, seeds: Sequence[bytes], reader: MakeReader, twin: MakeReader | None = None
    ) -> None:
        self.seeds = seeds
        self._reader = reader
        self._twin = twin

    async def take(self, data: bytes) -> None:
        random = Random(zlib.crc32(data))
        request = random.choice(_REQUESTS)
        said = _outcome(self._reader(request), pieces(data, random))
        if self._twin is not None:
            other = _outcome(self._twin(request), [data])
            if _without_made_up_ids(said) != _without_made_up_ids(other):
                raise Fault("the short cut and the long way differ")
        check_rules([*chunks_of(said)])
        check_encoding(said)


def pieces(data: bytes, random: Random) -> Iterator[bytes]:
    """As a network would deliver them."""
    most = random.choice((3, 50, 5000))
    start = 0
    while start < len(data):
        end = start + random.randint(1, most)
        yield data[start:end]
        start = end


def _outcome(reader: Reader, data: Iterable[bytes]) -> Burst:
    """The chunks, until the end or an error; any other exception is a fault."""
    said: list[ChatCompletionChunk | TextRun] = []
    events = EventReader()
    # A list takes in what comes before an error.
    with suppress(ChatError):
        for piece in data:
            said.extend(reader.read(events.feed(piece)))
        said.extend(reader.read(events.end()))
        said.extend(reader.end())
    return said


def _without_made_up_ids(said: Burst) -> list[ChatCompletionChunk]:
    """Where an upstream gives a call no id, it gets a random one."""
    bare = []
    for chunk in chunks_of(said):
        copy = ChatCompletionChunk()
        copy.CopyFrom(chunk)
        for choice in copy.choices:
            for call in choice.delta.tool_calls:
                if call.HasField("id"):
                    call.id = ""
        bare.append(copy)
    return bare


def check_rules(chunks: list[ChatCompletionChunk]) -> None:
    """Choices begin in order, each once with its role, and end once; usage is the last."""
    begun: list[int] = []
    ended: set[int] = set()
    for place, chunk in enumerate(chunks):
        if chunk.HasField("usage") and (chunk.choices or place != len(chunks) - 1):
            raise Fault("usage that is not the last, or not alone")
        for choice in chunk.choices:
            if choice.delta.HasField("role"):
                begun.append(choice.index)
            elif choice.index not in begun:
                raise Fault("a choice that began without a role")
            if choice.HasField("finish_reason"):
                if choice.index in ended:
                    raise Fault("a choice that ended twice")
                ended.add(choice.index)
    if begun != list(range(len(begun))):
        raise Fault(f"choices that began as {begun}")


def check_encoding(said: Burst) -> None:
    """Both faces can say it, and the one's short cuts say the same."""
    together = ChunkEncoder(include_usage=True)(said)
    encode = ChunkEncoder(include_usage=True)
    whole = Fold()
    events = []
    for chunk in chunks_of(said):
        chunk.SerializeToString()
        event = encode([chunk])
        events.append(event)
        if event != line(chunk, include_usage=True):
            raise Fault("an event that differs from the one written out")
        if not event.startswith(b"data: {") or not event.endswith(b"}\n\n") or b"\n" in event[:-2]:
            raise Fault("an event that is not one line")
        json.loads(event[6:])
        whole.add([chunk])
    if together != b"".join(events):
        raise Fault("events that differ from what they are one by one")
    at_once = Fold()
    at_once.add(said)
    completion = whole.completion()
    if at_once.completion() != completion:
        raise Fault("an answer that differs from what its chunks add up to")
    json.loads(to_json.dumps(to_json.completion(completion)))


def _requests() -> list[CreateChatCompletionRequest]:
    plain = CreateChatCompletionRequest(model="m")
    asking = CreateChatCompletionRequest(model="m", logprobs=True, top_logprobs=2, n=2)
    tool = Tool(function=FunctionDefinition(name="weather", parameters_json='{"type":"object"}'))
    calling = CreateChatCompletionRequest(model="m", tools=[tool])
    naming = CreateChatCompletionRequest(model="m", tools=[tool])
    naming.tool_choice.function_name = "weather"
    deprecated = CreateChatCompletionRequest(
        model="m", functions=[FunctionDefinition(name="weather")]
    )
    return [plain, asking, calling, naming, deprecated]


_REQUESTS = _requests()


@asynccontextmanager
async def chat_stream() -> AsyncIterator[Target]:
    """OpenAI's, as vendors speak it."""
    yield StreamTarget([shape.data for shape in shapes()], ChunkReader, SlowChunkReader)


@asynccontextmanager
async def llama_stream() -> AsyncIterator[Target]:
    """llama.cpp's, whose calls are text."""

    def reader(request: CreateChatCompletionRequest) -> Reader:
        return LlamaChunkReader(request, "m", AnswerForm.of(request))

    seeds = [shape.data for shape in shapes() if shape.name.startswith(("llama", "openai"))]
    yield StreamTarget([*seeds, *_called()], reader)


def _called() -> list[bytes]:
    texts = [
        'Well.<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>\n<tool_call>\n{"name": "x',
    ]
    return [
        b"".join(
            b"data: " + json.dumps(_llama_event(text[at : at + 5], at)).encode() + b"\n\n"
            for at in range(0, len(text) + 5, 5)
        )
        for text in texts
    ]


def _llama_event(text: str, at: int) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": {"content": text} if text else {},
        "finish_reason": None if text else "stop",
        "logprobs": {"content": [{"token": text, "logprob": -0.5, "bytes": [65]}]},
    }
    timings = {"cache_n": 1, "prompt_n": 2, "predicted_n": at}
    return {"choices": [choice], "model": "m", "timings": timings}


@asynccontextmanager
async def messages_stream() -> AsyncIterator[Target]:
    """Anthropic's."""
    usage = {"input_tokens": 25, "output_tokens": 1, "cache_read_input_tokens": 3}
    start = {"type": "message_start", "message": {"model": "claude", "usage": usage}}
    ends: list[dict[str, Any]] = [
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 15, "output_tokens_details": {"thinking_tokens": 2}},
        },
        {"type": "message_stop"},
    ]
    blocks: list[list[dict[str, Any]]] = [
        _block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
        _block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "?"})
        + _block(1, {"type": "text", "text": "a"}, {"type": "text_delta", "text": "b"}),
        _block(
            0,
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"city": "Ulm"}'},
        ),
        [{"type": "ping"}, {"type": "error", "error": {"type": "overloaded_error", "message": ""}}],
    ]
    seeds = [
        b"".join(
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            for event in (start, *block, *ends)
        )
        for block in blocks
    ]
    yield StreamTarget(seeds, MessageReader)


def _block(index: int, block: dict[str, Any], delta: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        {"type": "content_block_delta", "index": index, "delta": delta},
        {"type": "content_block_stop", "index": index},
    ]
