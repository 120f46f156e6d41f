"""Images, sound and documents: to an upstream as they are, to the embedded model as it can."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI
from pictures import BLUE, RED, as_url, bmp, gif, jpeg, png
from projector import TOKENS, write_projector
from yarl import URL

from diglot.facade import FacadeOptions, HttpServer, RemoteChannel, build_app
from diglot.facade.parse import parse
from diglot.facade.to_contract import to_contract
from diglot.service.chat import ChatService
from diglot.service.config import EmbeddedModel, MediaSettings
from diglot.service.embedded.engine import EmbeddedEngine
from diglot.service.embedded.process import OwnProcess
from diglot.service.engine import Engine
from diglot.service.entrance import NoKeys
from diglot.service.media import Web
from diglot.service.media.allowance import Allowance
from diglot.service.model_store import ModelStore
from diglot.service.models import Models, ServedModel
from diglot.service.server import GrpcServer
from diglot.service.upstream import Endpoint, UpstreamEngine
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.model_pb2 import Model

Json = dict[str, Any]


class Faces(NamedTuple):
    """Both faces of one model, on sockets, each with a client."""

    http: AsyncOpenAI
    grpc: Any  # the stub, whose types are those of synchronous calls

    async def both(self, body: Json) -> list[Json]:
        """The answer as each face gives it: text and usage."""
        one: Any = await self.http.chat.completions.create(**body)
        other = await self.grpc.CreateChatCompletion(to_contract(parse(json.dumps(body).encode())))
        return [
            {
                "texts": [choice.message.content for choice in answer.choices],
                "prompt": answer.usage.prompt_tokens,
                "completion": answer.usage.completion_tokens,
            }
            for answer in (one, other)
        ]


@asynccontextmanager
async def faces(engine: Engine) -> AsyncIterator[Faces]:
    models = Models([ServedModel(Model(id="m"), engine)])
    server = GrpcServer(ChatService(models), models, NoKeys())
    async with AsyncExitStack() as running:
        running.push_async_callback(models.close)
        await models.start()
        await engine.readiness.wait()
        running.push_async_callback(server.stop, 0)
        target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        far = RemoteChannel(target)
        running.push_async_callback(far.close)
        http = HttpServer(build_app(far, FacadeOptions()), "127.0.0.1", 0)
        await http.start()
        running.push_async_callback(http.stop, 0)
        sdk = await running.enter_async_context(
            AsyncOpenAI(
                api_key="any",
                base_url=f"http://{http.address}/v1",
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(verify=False),
            )
        )
        wire = await running.enter_async_context(grpc.aio.insecure_channel(target))
        yield Faces(sdk, ChatServiceStub(wire))


def image(url: str, **more: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def asking(*parts: Json, **more: Any) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": list(parts)}], **more}


def screenshot(url: str) -> list[Json]:
    """As agents take one: a call of a tool, and its result."""
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": [text("Done."), image(url)]},
    ]


# -- Upstreams ----------------------------------------------------------------------------

ANSWER = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


async def test_an_upstream_gets_everything_as_it_was_sent() -> None:
    """Field by field: also what this server would not decode, and URLs that it would not follow."""
    asked: list[Json] = []

    async def upstream(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.Response(body=ANSWER, content_type="text/event-stream")

    body = asking(
        text("Compare."),
        image("https://images.test/cat.png?sig=a%2Fb", detail="high"),
        image("http://10.0.0.1/inside.png", detail="original"),
        image("data:image/webp;base64,UklGRg==", detail="low"),
        image("data:,nonsense"),
        {"type": "input_audio", "input_audio": {"data": "UklGRiQ=", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "//vQ", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE",
                                  "filename": "ä.pdf"}},
        {"type": "file", "file": {"file_id": "file-123"}},
        text("Briefly."),
    )  # fmt: skip
    body["messages"] += screenshot("https://images.test/screen.png")
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint = Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        async with faces(UpstreamEngine(endpoint, "their-model")) as both:
            assert [answer["texts"] for answer in await both.both(body)] == [["hi"], ["hi"]]
    finally:
        await runner.cleanup()
    by_http, by_grpc = asked
    assert by_http["messages"] == body["messages"]
    assert by_grpc["messages"] == body["messages"]


# -- The embedded model -------------------------------------------------------------------


class Gallery(Web):
    """What there is on the web."""

    def __init__(self) -> None:
        super().__init__()
        self.given_up = asyncio.Event()

    async def fetch(self, url: URL, allowance: Allowance, seconds: float) -> bytes:
        if url.name == "slow.png":
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up.set()
        assert url.name == "red.png"
        return png(colour=RED)


def seeing(
    model_path: Path, projector: Path | None, gallery: Gallery | None = None, **media: Any
) -> EmbeddedEngine:
    model = EmbeddedModel(
        kind="embedded",
        name="m",
        source=str(model_path),
        projector=None if projector is None else str(projector),
        context_tokens=512,
        parallel=2,
        threads=1,
    )
    process = OwnProcess(model, ModelStore(model_path.parent))
    return EmbeddedEngine(model, process, MediaSettings(**media), gallery)


STEADY = {"temperature": 0, "max_tokens": 8, "seed": 1}
RED_IMAGE, BLUE_IMAGE = as_url(png(colour=RED)), as_url(png(64, 64, BLUE))


async def test_the_embedded_model_sees(model_path: Path, tmp_path: Path) -> None:
    """One model for several looks at it: loading takes its time."""
    gallery = Gallery()
    engine = seeing(model_path, write_projector(tmp_path / "p.gguf"), gallery, fetch_images=True)
    async with faces(engine) as both:
        await _each_image_is_so_many_tokens(both)
        await _what_is_on_an_image_counts_and_where_it_stands(both)
        await _kinds_that_llama_can_decode(both)
        await _every_choice_sees_it(both)
        await _what_cannot_be_decoded_is_refused_and_nothing_dies(both, engine)
        await _who_leaves_frees_the_slot(both)
        await _fetching_takes_no_longer_than_the_call_may(both, gallery)


async def _each_image_is_so_many_tokens(both: Faces) -> None:
    """On both faces alike; and the answers are ones as to any question."""
    for count, images in enumerate([[], [RED_IMAGE], [RED_IMAGE, BLUE_IMAGE]]):
        answers = await both.both(asking(text("What?"), *map(image, images), **STEADY))
        if not images:
            alone = answers[0]["prompt"]
        assert answers[0] == answers[1]
        assert answers[0]["prompt"] == alone + count * TOKENS
        assert 1 <= answers[0]["completion"] <= 8
        assert answers[0]["texts"][0]


async def _likely(both: Faces, *parts: Json) -> list[float]:
    """How likely the first token is, and those next to it."""
    asked = asking(*parts, **STEADY, logprobs=True, top_logprobs=5)
    answer = await both.http.chat.completions.create(**asked)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    return [each.logprob for each in logprobs.content[0].top_logprobs]


async def _what_is_on_an_image_counts_and_where_it_stands(both: Faces) -> None:
    red = await _likely(both, text("What?"), image(RED_IMAGE))
    assert red != await _likely(both, text("What?"), image(BLUE_IMAGE))
    assert red != await _likely(both, image(RED_IMAGE), text("What?"))
    fetched = await _likely(both, text("What?"), image("https://images.test/red.png"))
    assert fetched == pytest.approx(red, abs=0.05)


async def _kinds_that_llama_can_decode(both: Faces) -> None:
    """What is let through is what it can: a progressive JPEG, a GIF, several turns, detail."""
    for data in (jpeg(40, 30, scans=3), gif(4, 4), png(1, 1), png(3, 600)):
        asked = asking(image(as_url(data), detail="low"), **STEADY)
        await both.http.chat.completions.create(**asked)
    body = asking(text("What?"), image(RED_IMAGE), **STEADY)
    body["messages"] += [
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": [image(BLUE_IMAGE), text("And this?")]},
    ]
    first, second = await both.both(body)
    assert first == second


async def _every_choice_sees_it(both: Faces) -> None:
    (one, other) = await both.both(asking(text("What?"), image(RED_IMAGE), n=3, **STEADY))
    assert len(one["texts"]) == len(other["texts"]) == 3
    assert one["prompt"] == other["prompt"]


async def _what_cannot_be_decoded_is_refused_and_nothing_dies(
    both: Faces, engine: EmbeddedEngine
) -> None:
    """By us where we can tell, with the image's place; else by llama.cpp."""
    child = engine.child_pid
    compressed = bmp()[:30] + b"\1" + bmp()[31:]  # as few are, and stb_image cannot read
    for url, words in [
        (as_url(b"no image"), "Unsupported image"),
        (as_url(png()[:-30]), "cut off"),
        (as_url(png(9000, 9000, packed=b"x")), "megapixels"),
        ("http://images.test/red.png", "begins with 'https:'"),
        (as_url(compressed), "Failed to load image"),
    ]:
        with pytest.raises(openai.BadRequestError, match=words) as refused:
            await both.http.chat.completions.create(**asking(text("?"), image(url)))
        if "Failed" not in words:
            assert refused.value.param == "messages[0].content[1].image_url.url"
    for kind in ("input_audio", "file", "video_url"):
        part = {"type": kind, kind: {"data": "AA==", "format": "wav", "file_data": "AA=="}}
        with pytest.raises(openai.BadRequestError, match="does not"):
            await both.http.chat.completions.create(**asking(part))
    body = asking(text("?"))
    body["messages"] += screenshot(RED_IMAGE)
    with pytest.raises(openai.BadRequestError, match="in a user message") as refused:
        await both.http.chat.completions.create(**body)
    assert refused.value.param == "messages[2].content[1]"
    await both.both(asking(image(RED_IMAGE), **STEADY))
    assert engine.child_pid == child


async def _who_leaves_frees_the_slot(both: Faces) -> None:
    """Twice as often as there are slots."""
    body = asking(image(RED_IMAGE), max_tokens=400, stream=True, extra_body={"ignore_eos": True})
    for _ in range(4):
        chunks: Any = await both.http.chat.completions.create(**body)
        async with chunks:
            await anext(aiter(chunks))
    await both.both(asking(image(RED_IMAGE), **STEADY))


async def _fetching_takes_no_longer_than_the_call_may(both: Faces, gallery: Gallery) -> None:
    """Whatever the configuration allows."""
    body = asking(image("https://images.test/slow.png"))
    request = to_contract(parse(json.dumps(body).encode()))
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await both.grpc.CreateChatCompletion(request, timeout=1)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await gallery.given_up.wait()


async def test_without_a_projector_an_image_is_refused_by_its_place(model_path: Path) -> None:
    """Before any work: the model is not even there."""
    models = Models([ServedModel(Model(id="m"), seeing(model_path, None, fetch_images=True))])
    server = GrpcServer(ChatService(models), models, NoKeys())
    try:
        target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        async with grpc.aio.insecure_channel(target) as wire:
            body = asking(text("?"), image("https://images.test/red.png"))
            request = to_contract(parse(json.dumps(body).encode()))
            with pytest.raises(grpc.aio.AioRpcError, match="does not take images") as refused:
                await ChatServiceStub(wire).CreateChatCompletion(request)
    finally:
        await server.stop(0)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_projector_for_another_model_is_said_to_be_one(
    model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "diglot.embedded")
    engine = seeing(model_path, write_projector(tmp_path / "p.gguf", model_width=512))
    try:
        await engine.start()
        while not caplog.records:
            await asyncio.sleep(0)
        assert "mmproj (n_embd = 512)" in vars(caplog.records[0])["reason"]
    finally:
        await engine.close()
