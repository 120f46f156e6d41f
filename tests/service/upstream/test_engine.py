"""The upstream engine against a server of every temper, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
from aiohttp import web
from engines import one_by_one
from multidict import CIMultiDict
from serving import ask

from diglot.burst import Burst
from diglot.burst import chunks_of as burst_chunks
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.upstream import Endpoint, UpstreamEngine
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import FINISH_REASON_STOP

CALL = Call(request_id="req_test", caller="tester")
ANSWER = (
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}],"model":"real"}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"model":"real"}\n\n'
    b"data: [DONE]\n\n"
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def upstream(handler: Handler, key: str | None = None) -> AsyncIterator[UpstreamEngine]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    engine = UpstreamEngine(Endpoint(f"http://127.0.0.1:{port}/v1", key), "real-model")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
        await runner.cleanup()


async def hear(bursts: AsyncIterator[Burst], into: list[Burst]) -> None:
    """What came before a failure is kept."""
    async for burst in bursts:
        into.append(burst)  # noqa: PERF401


async def chunks_of(engine: UpstreamEngine) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in one_by_one(engine.stream(ask(), CALL))]


def answering(
    body: bytes, status: int = 200, content_type: str = "text/event-stream", **headers: str
) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        headers["Content-Type"] = content_type
        return web.Response(body=body, status=status, headers=headers)

    return handler


async def streaming(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def test_what_is_asked_of_it() -> None:
    """Its own name for the model, its own key, a stream with usage, and the request's id."""
    asked: list[tuple[dict[str, object], CIMultiDict[str]]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append((await request.json(), request.headers.copy()))
        return await answering(ANSWER)(request)

    async with upstream(handler, key="sesame") as engine:
        chunks = await chunks_of(engine)
    ((body, headers),) = asked
    assert body == {
        "model": "real-model",
        "messages": [{"role": "user", "content": "hello there world"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert headers["Authorization"] == "Bearer sesame"
    assert headers["X-Request-Id"] == "req_test"
    assert {chunk.model for chunk in chunks} == {"real"}


async def test_vendor_keys_arrive_unchanged() -> None:
    asked: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(await request.read())
        return await answering(ANSWER)(request)

    request = ask()
    request.extra_json = (
        '{"top_k": 12345678901234567890123, "chat_template_kwargs": {"z": 1, "a": null}}'
    )
    async with upstream(handler) as engine:
        async for _ in engine.stream(request, CALL):
            pass
    body = json.loads(asked[0])
    assert body["top_k"] == 12345678901234567890123
    assert list(body["chat_template_kwargs"].items()) == [("z", 1), ("a", None)]


async def test_half_a_surrogate_pair_arrives_as_the_escape_that_it_was() -> None:
    """No UTF-8 can spell it, and JSON can."""
    asked: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(await request.read())
        return await answering(ANSWER)(request)

    request = ask(extra_json=r'{"grammar": "\ud800"}')
    async with upstream(handler) as engine:
        assert [chunk async for chunk in engine.stream(request, CALL)]
    assert rb'"\ud800"' in asked[0]


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (answering(b'{"error":{"message":"no such thing","param":"x","code":"c"}}', 400),
         errors.UpstreamRefused, "no such thing"),
        (answering(b"<html>", 422), errors.UpstreamRefused, "status 422"),
        (answering(b'{"error":{"message":"bad key sk-1234"}}', 401),
         errors.UpstreamInvalid, "server's key"),
        (answering(b'{"error":{"message":"slow down"}}', 429, **{"Retry-After": "7"}),
         errors.RateLimited, "slow down"),
        (answering(b"oops", 500), errors.UpstreamInvalid, "failed"),
        (answering(b"", 503), errors.UpstreamUnavailable, "not available"),
        (answering(b"", 307, Location="http://127.0.0.1:1/"), errors.UpstreamInvalid, "failed"),
        (answering(b"{}", content_type="application/json"), errors.UpstreamInvalid, "stream"),
        (answering(b"data: garbage\n\n"), errors.UpstreamInvalid, "JSON"),
        (answering(b""), errors.UpstreamInvalid, "without an answer"),
        (answering(ANSWER[:100]), errors.UpstreamUnavailable, "broke off"),
    ],
)  # fmt: skip
async def test_what_goes_wrong(handler: Handler, kind: type[errors.ChatError], words: str) -> None:
    async with upstream(handler) as engine:
        with pytest.raises(errors.ChatError, match=words) as caught:
            await chunks_of(engine)
    assert type(caught.value) is kind
    assert "sk-1234" not in str(caught.value)


async def test_a_refusal_keeps_the_upstreams_words() -> None:
    body = b'{"error":{"message":"m","type":"t","param":"messages[0]","code":"c"}}'
    async with upstream(answering(body, 422)) as engine:
        with pytest.raises(errors.UpstreamRefused) as caught:
            await chunks_of(engine)
    assert caught.value.details == {"http_status": "422", "type": "t", "code": "c"}
    assert caught.value.field == "messages[0]"


async def test_retry_after_is_honoured() -> None:
    async with upstream(answering(b"{}", 429, **{"Retry-After": "7"})) as engine:
        with pytest.raises(errors.RateLimited) as caught:
            await chunks_of(engine)
    assert caught.value.retry_after == 7


async def test_a_context_overflow_is_said_in_openais_words() -> None:
    body = b'{"error":{"code":400,"message":"too long","n_prompt_tokens":99,"n_ctx":10}}'
    async with upstream(answering(body, 400)) as engine:
        with pytest.raises(errors.ContextLengthExceeded, match="maximum context length is 10 tok"):
            await chunks_of(engine)


async def test_nobody_listens() -> None:
    engine = UpstreamEngine(Endpoint("http://127.0.0.1:1/v1"), "m")
    await engine.start()
    with pytest.raises(errors.UpstreamUnavailable, match="cannot be reached"):
        await chunks_of(engine)
    await engine.close()


def text_of(bursts: list[Burst]) -> str:
    chunks = [chunk for burst in bursts for chunk in burst_chunks(burst)]
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


async def test_what_came_at_once_is_one_burst_its_end_included() -> None:
    async with upstream(answering(ANSWER)) as engine:
        [burst] = [burst async for burst in engine.stream(ask(), CALL)]
    assert text_of([burst]) == "hi"
    *_, last = burst_chunks(burst)
    assert last.choices[0].finish_reason == FINISH_REASON_STOP


@pytest.mark.parametrize("words", [2, 9])
@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        (b"garbage", errors.UpstreamInvalid, "not JSON"),
        (b"[]", errors.UpstreamInvalid, "not an object"),
        (b'{"error":{"message":"Overloaded.","code":503}}', errors.UpstreamUnavailable, "not av"),
        (
            b'{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}',
            errors.UpstreamUnavailable,
            "gave up",
        ),
        (
            b'{"model":"real","choices":[{"index":0,"delta":{"content":"\xff"}}]}',
            errors.UpstreamInvalid,
            "not JSON",
        ),
    ],
    ids=["no JSON", "no object", "an error", "a failure", "no UTF-8"],
)
async def test_what_came_before_a_fault_in_the_same_piece_is_delivered_first(
    words: int, event: bytes, kind: type[errors.ChatError], message: str
) -> None:
    """It was said, and counts; what comes after the fault was not."""
    good = b'data: {"model":"real","choices":[{"index":0,"delta":{"content":"hi "}}]}\n\n'
    call = Call(request_id="req_test", caller="tester")
    bursts: list[Burst] = []
    async with upstream(answering(good * words + b"data: " + event + b"\n\n" + good)) as engine:
        with pytest.raises(errors.ChatError, match=message) as caught:
            await hear(engine.stream(ask(), call), bursts)
    assert type(caught.value) is kind
    assert text_of(bursts) == "hi " * words
    assert len(bursts) == 1
    usage = call.meter.usage()
    assert usage is not None
    assert usage.completion_tokens == words


async def test_an_end_that_lacks_comes_after_what_was_said() -> None:
    """The connection ends with the piece that says half of the answer."""
    said = b'data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n'
    bursts: list[Burst] = []
    async with upstream(answering(said)) as engine:
        with pytest.raises(errors.UpstreamUnavailable, match="broke off"):
            await hear(engine.stream(ask(), CALL), bursts)
    assert text_of(bursts) == "half"


async def test_a_connection_cut_in_the_middle_is_an_error_not_an_end() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await streaming(request)
        await response.write(ANSWER[:80])
        assert request.transport is not None
        request.transport.abort()
        return response

    async with upstream(handler) as engine:
        with pytest.raises(errors.UpstreamUnavailable):
            await chunks_of(engine)


@pytest.mark.parametrize("way", ["stays open", "says that it is there", "breaks"])
async def test_a_connection_that_does_not_end_is_no_part_of_the_answer(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most clients do not wait for it, so a server may not notice. It has some time to end."""
    monkeypatch.setattr("diglot.service.upstream.exchange._PATIENCE", 0.2)
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await streaming(request)
        try:
            await response.write(ANSWER)
            assert request.transport is not None
            if way == "breaks":
                request.transport.abort()
            with suppress(ConnectionError):
                while way == "says that it is there":
                    await response.write(b": ping\n\n")
                    await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    bursts: list[Burst] = []
    async with upstream(handler) as engine:
        await hear(engine.stream(ask(), CALL), bursts)
        await left.wait()
    assert text_of(bursts) == "hi"
    [*_, last] = burst_chunks(bursts[-1])
    assert last.choices[0].finish_reason == FINISH_REASON_STOP


@pytest.mark.parametrize("way", ["stays open", "breaks"])
async def test_a_refusal_that_does_not_end_is_one_by_its_status(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diglot.service.upstream.exchange._PATIENCE", 0.2)
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=429, headers={"Retry-After": "7"})
        await response.prepare(request)
        try:
            await response.write(b'{"error":{"message":"slo')
            assert request.transport is not None
            if way == "breaks":
                request.transport.abort()
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with upstream(handler) as engine:
        with pytest.raises(errors.RateLimited) as caught:
            await chunks_of(engine)
        await left.wait()
    assert caught.value.retry_after == 7


async def test_its_call_is_closed_when_the_caller_leaves() -> None:
    """While it streams."""
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await streaming(request)
        try:
            await response.write(ANSWER[:80])
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with upstream(handler) as engine:
        async with aclosing(engine.stream(ask(), CALL)) as chunks:
            await anext(chunks)
        await left.wait()


async def test_its_call_is_closed_when_the_caller_leaves_before_the_first_byte() -> None:
    """While it reads the prompt, or queues."""
    came, left = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with upstream(handler) as engine:
        waiting = asyncio.ensure_future(chunks_of(engine))
        await came.wait()
        waiting.cancel()
        await left.wait()


async def test_what_is_stored_here_is_not_stored_there_too() -> None:
    """And where nothing is stored, its metadata is the upstream's to judge."""
    asked: list[dict[str, object]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        return await answering(ANSWER)(request)

    async with upstream(handler) as engine:
        for store in (True, False, None):
            request = ask(store=store, metadata={"k": "v"})
            assert [chunk async for chunk in engine.stream(request, CALL)]
            assert request == ask(store=store, metadata={"k": "v"})
    here, nowhere, silent = asked
    assert "store" not in here
    assert "metadata" not in here
    assert (nowhere["store"], nowhere["metadata"]) == (False, {"k": "v"})
    assert "store" not in silent
    assert silent["metadata"] == {"k": "v"}
