"""An upstream that replays vendors' streams: what goes in comes out, whichever way, in meaning.

Equal field by field: text, thought, refusals, calls, probabilities, citations, sound, usage with
its details, why it ended. Mended may be: ids and times, which are ours; the role once; indices;
usage last; a reason to stop of one's own, which becomes one of OpenAI's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import openai
import pytest
import uvloop
from aiohttp import web
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from diglot.burst import Burst
from diglot.service.call import Call
from diglot.service.scripted import ScriptedEngine
from diglot.service.upstream import Endpoint, UpstreamEngine
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from . import plain
from .plain import Json
from .shapes import Shape, homeless, meaning, shapes
from .ways import NAMES, BySdk, Way, open_ways

WHOLE, STREAMED = "whole", "streamed"
SHAPES = {shape.name: shape for shape in shapes()}

Replayed = dict[tuple[str, str, str], Json]
"""What came out: by shape, way and mode."""

# What is left out, and why.
HOMELESS: dict[str, set[str]] = {
    # Whether a thought is over. Parts become text and thought, whose end is where the other begins.
    "mistral_magistral": {"choices[].delta.content[].closed"},
    # Random letters that hide the chunk's length: on the next wire, that is ours to do.
    "mistral_tools": {"p"},
    # The delta's content once more.
    "together_text": {"choices[].text"},
}

# Its types have fewer service tiers, and no custom calls in streams.
UNKNOWN_TO_THE_SDK = {"groq_text", "openai_custom_tool"}

each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


class ReplayEngine(ScriptedEngine):
    """An upstream engine, where the ways expect a scripted one."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._upstream = UpstreamEngine(Endpoint(base_url), "theirs")

    async def start(self) -> None:
        await self._upstream.start()
        await super().start()

    async def close(self) -> None:
        await self._upstream.close()
        await super().close()

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        return self._upstream.stream(request, call)


@asynccontextmanager
async def replaying(seen: list[Json] | None = None) -> AsyncIterator[str]:
    """The base URL of a server that answers with the shape whose name it is asked for. What it
    was asked is added to `seen`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if seen is not None:
            seen.append(body)
        shape = SHAPES[body["messages"][-1]["content"]]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        # In two pieces that end where they like.
        half = len(shape.data) // 2
        await response.write(shape.data[:half])
        await response.write(shape.data[half:])
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def replayed() -> Replayed:
    return uvloop.run(replay())


async def replay() -> Replayed:
    found: Replayed = {}
    async with (
        replaying() as base_url,
        open_ways(*NAMES, engine=ReplayEngine(base_url)) as ways,
    ):
        for name, way in zip(NAMES, ways, strict=True):
            for shape in SHAPES.values():
                if isinstance(way, BySdk):
                    way.sdk._strict_response_validation = shape.name not in UNKNOWN_TO_THE_SDK
                found[shape.name, name, WHOLE] = await whole(way, shape)
                found[shape.name, name, STREAMED] = await streamed(way, shape)
    return found


def asked(shape: Shape, **more: Any) -> Json:
    message = {"role": "user", "content": shape.name}
    return {"model": "scripted", "messages": [message], **shape.asks, **more}


async def whole(way: Way, shape: Shape) -> Json:
    try:
        return plain.without_identity(await way.create(asked(shape)))
    except (openai.APIError, grpc.aio.AioRpcError) as error:
        return {"error": reason_of(error)}


async def streamed(way: Way, shape: Shape) -> Json:
    chunks: list[Json] = []
    failed: Json = {}
    body = asked(shape, stream_options={"include_usage": True})
    try:
        async for chunk in way.stream(body):
            chunks.append(chunk)  # noqa: PERF401  # kept, if it fails
    except (openai.APIError, grpc.aio.AioRpcError) as error:
        failed = {"error": reason_of(error)}
    assert len({chunk["model"] for chunk in chunks}) <= 1
    return plain.fold(chunks) | failed


def reason_of(error: openai.APIError | grpc.aio.AioRpcError) -> str:
    if isinstance(error, openai.APIError):
        return (error.code or "").upper()
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)


@pytest.mark.parametrize("mode", [WHOLE, STREAMED])
@pytest.mark.parametrize("name", NAMES)
@each_shape
def test_what_goes_in_comes_out(shape: Shape, name: str, mode: str, replayed: Replayed) -> None:
    expected = meaning(shape)
    came = replayed[shape.name, name, mode]
    for choice in came.get("choices", ()):
        # Where a thought came first, a stream has said "" before a call could follow.
        message = choice["message"]
        if mode == STREAMED and "tool_calls" in message and message.get("content") == "":
            del message["content"]
    if shape.fails is not None:
        assert came.pop("error") == shape.fails
        for choice in expected["choices"]:
            del choice["finish_reason"]
        assert came == ({} if mode == WHOLE else expected)
        return
    assert came == expected


@each_shape
def test_the_shapes_are_read_as_they_are_meant(shape: Shape) -> None:
    assert shape.source is not None
    assert shape.source.startswith("https://")
    said = [choice["message"].get("content", "") for choice in meaning(shape)["choices"]]
    assert " | ".join(said) == shape.says


@each_shape
def test_what_is_lost_is_known(shape: Shape) -> None:
    assert homeless(shape) == HOMELESS.get(shape.name, set())
