"""The engine against a server of the Messages API in every temper, over real sockets."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest
from aiohttp import web
from engines import one_by_one
from messages_server import (
    HELLO,
    Handler,
    answering,
    anthropic_engine,
    error,
    messages_server,
)
from serving import ask

from diglot.service import errors
from diglot.service.anthropic import AnthropicEngine, MessagesEndpoint
from diglot.service.call import Call
from diglot.v1.chunk_pb2 import ChatCompletionChunk

CALL = Call(request_id="req_test", caller="tester")


async def chunks_of(engine: AnthropicEngine) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in one_by_one(engine.stream(ask(), CALL))]


async def test_what_is_asked_of_it() -> None:
    """Its own name for the model, its own key, always a stream, and the request's id."""
    async with messages_server() as server, anthropic_engine(server) as engine:
        assert engine.readiness.ready
        chunks = await chunks_of(engine)
    (body,), (headers,) = server.bodies, server.headers
    assert body == {
        "model": "claude-test",
        "max_tokens": 16384,
        "stream": True,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello there world"}]}],
    }
    assert headers["x-api-key"] == "sesame"
    assert headers["X-Request-Id"] == "req_test"
    assert "Authorization" not in headers
    assert "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices) == "Hello"


async def test_a_server_of_ones_own_may_need_no_key() -> None:
    async with messages_server() as server, anthropic_engine(server, key=None) as engine:
        await chunks_of(engine)
    assert "x-api-key" not in server.headers[0]


async def test_what_it_cannot_ask_for_never_leaves() -> None:
    async with messages_server() as server, anthropic_engine(server) as engine:
        with pytest.raises(errors.UnsupportedParameter, match="cannot repeat its sampling"):
            await anext(engine.stream(ask(seed=1), CALL))
    assert server.bodies == []


def refusing(status: int, kind: str, message: str, **headers: str) -> Handler:
    body = json.dumps(error(kind, message)).encode()
    return answering(body, status, "application/json", **headers)


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (refusing(400, "invalid_request_error", "messages.0: no"), errors.UpstreamRefused, "no"),
        (refusing(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 max"
                  "imum"), errors.ContextLengthExceeded, "200000 tokens. However.* 208310 tok"),
        (refusing(401, "authentication_error", "invalid x-api-key sk-1234"),
         errors.UpstreamInvalid, "server's key"),
        (refusing(402, "billing_error", "pay sk-1234"), errors.UpstreamInvalid, "account"),
        (refusing(403, "permission_error", "sk-1234"), errors.UpstreamInvalid, "server's key"),
        (refusing(404, "not_found_error", "model: claude-test"), errors.UpstreamRefused, "model"),
        (refusing(413, "request_too_large", "too large"), errors.UpstreamRefused, "too large"),
        (refusing(429, "rate_limit_error", "slow down"), errors.RateLimited, "slow down"),
        (refusing(500, "api_error", "secret"), errors.UpstreamInvalid, "failed"),
        (refusing(504, "timeout_error", "secret"), errors.UpstreamUnavailable, "not available"),
        (refusing(529, "overloaded_error", "secret"), errors.UpstreamUnavailable, "not available"),
        (answering(b"<html>", 400, "text/html"), errors.UpstreamRefused, "status 400"),
        (answering(b"<html>", 502, "text/html"), errors.UpstreamUnavailable, "not available"),
        (answering(b"[]", 400, "application/json"), errors.UpstreamRefused, "status 400"),
        (answering(b"", 307, Location="http://127.0.0.1:1/"), errors.UpstreamInvalid, "failed"),
        (answering(b"{}", content_type="application/json"), errors.UpstreamInvalid, "stream"),
        (answering(b"data: garbage\n\n"), errors.UpstreamInvalid, "JSON"),
        (answering(b""), errors.UpstreamUnavailable, "broke off"),
        (answering(HELLO[:-250]), errors.UpstreamUnavailable, "broke off"),
    ],
)  # fmt: skip
async def test_what_goes_wrong(handler: Handler, kind: type[errors.ChatError], words: str) -> None:
    async with messages_server(handler) as server, anthropic_engine(server) as engine:
        with pytest.raises(errors.ChatError, match=words) as caught:
            await chunks_of(engine)
    assert type(caught.value) is kind
    assert "sk-1234" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_refusal_keeps_the_upstreams_words() -> None:
    handler = refusing(400, "invalid_request_error", "no")
    async with messages_server(handler) as server, anthropic_engine(server) as engine:
        with pytest.raises(errors.UpstreamRefused) as caught:
            await chunks_of(engine)
    assert caught.value.details == {"http_status": "400", "type": "invalid_request_error"}


@pytest.mark.parametrize("status", [429, 529])
async def test_retry_after_is_honoured(status: int) -> None:
    handler = refusing(status, "overloaded_error", "busy", **{"Retry-After": "7"})
    async with messages_server(handler) as server, anthropic_engine(server) as engine:
        with pytest.raises(errors.ChatError) as caught:
            await chunks_of(engine)
    assert caught.value.retry_after == 7


async def test_nobody_listens() -> None:
    engine = AnthropicEngine(MessagesEndpoint("http://127.0.0.1:1"), "m")
    with pytest.raises(errors.NotReady):
        engine.stream(ask(), CALL)
    await engine.start()
    with pytest.raises(errors.UpstreamUnavailable, match="cannot be reached"):
        await chunks_of(engine)
    await engine.close()
    assert not engine.readiness.ready


async def test_its_call_is_closed_when_the_caller_leaves() -> None:
    """While it streams."""
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(HELLO[:-250])
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with messages_server(handler) as server, anthropic_engine(server) as engine:
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

    async with messages_server(handler) as server, anthropic_engine(server) as engine:
        waiting = asyncio.ensure_future(chunks_of(engine))
        await came.wait()
        waiting.cancel()
        await left.wait()
