"""The listener: addresses, TLS, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from certificates import self_signed

from diglot.facade import HttpServer, build_app

from .fake import HELLO, KEY, FakeService, facade, first, last, post
from .memory_channel import MemoryChannel


async def test_reports_the_port_it_was_given() -> None:
    server = HttpServer(web.Application(), "127.0.0.1", 0)
    await server.start()
    assert server.port != 0
    assert server.address == f"127.0.0.1:{server.port}"
    await server.stop(0)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_serves_ipv6(host: str) -> None:
    server = HttpServer(web.Application(), host, 0)
    await server.start()
    assert server.address == f"[::1]:{server.port}"
    _, writer = await asyncio.open_connection("::1", server.port)
    writer.close()
    await server.stop(0)


async def test_serves_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "facade")
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificate, key)
    ours = ssl.create_default_context(cafile=str(certificate))
    server = HttpServer(build_app(MemoryChannel()), "127.0.0.1", 0, theirs)
    await server.start()
    async with ClientSession() as http:
        url = f"https://{server.address}/v1/chat/completions"
        headers = {"Authorization": f"Bearer {KEY}"}
        asked: dict[str, Any] = {"json": {**HELLO, "stream": True}, "headers": headers, "ssl": ours}
        async with http.post(url, **asked) as answer:
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    await server.stop(0.1)


async def test_a_port_in_use_is_an_error() -> None:
    server = HttpServer(web.Application(), "127.0.0.1", 0)
    await server.start()
    second = HttpServer(web.Application(), "127.0.0.1", server.port)
    with pytest.raises(OSError):
        await second.start()
    await second.stop(0)
    await server.stop(0)


async def test_what_is_not_http_gets_an_openai_error_and_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with facade() as running:
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"hello\r\n\r\n"):
            reader, writer = await running.raw(garbage)
            answer = await reader.read()
            assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
            assert b'"type": "invalid_request_error"' in answer
            assert b"hello" not in answer
            writer.close()
        reader, writer = await running.raw(post(b"{}", "X-Long: " + "x" * 10_000))
        assert b'"code": "invalid_value"' in await reader.read()
        writer.close()
    assert caplog.records == []


async def test_stop_lets_answers_under_way_end() -> None:
    service = FakeService()
    finish = asyncio.Event()

    async def create(request: Any, context: Any) -> Any:
        service.called.set()
        await finish.wait()
        return await service._create(request, context)

    service.create = create
    async with facade(service) as running:
        asking = asyncio.create_task(running.ask())
        await service.called.wait()
        stopping = asyncio.create_task(running.server.stop(30))
        with suppress(OSError):
            while True:  # until nobody listens any more
                await running.raw()
        assert not stopping.done()
        finish.set()
        assert (await asking)[0] == 200
        await stopping


async def test_whose_stream_began_before_the_stop_may_ask_once_more() -> None:
    """Its head could not say that the connection ends: the next answer's does."""
    service = FakeService()
    finish = asyncio.Event()

    async def stream(request: Any, context: Any) -> None:
        await context.write(first())
        await finish.wait()
        await context.write(last())

    service.stream = stream
    async with facade(service) as running:
        reader, writer = await running.raw(post(json.dumps({**HELLO, "stream": True}).encode()))
        await reader.readuntil(b"data: ")
        stopping = asyncio.create_task(running.server.stop(30))
        with suppress(OSError):
            while True:  # until nobody listens any more
                await running.raw()
        finish.set()
        await reader.readuntil(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        writer.write(post(json.dumps(HELLO).encode()))
        answer = await reader.read()
        await stopping
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer


async def test_stop_closes_idle_connections_at_once() -> None:
    async with facade() as running:
        reader, writer = await running.raw()
        await running.server.stop(30)
        assert await reader.read() == b""
        writer.close()


async def test_stop_does_not_wait_for_connections_that_were_just_made() -> None:
    async with facade() as running:
        connecting = [asyncio.create_task(running.raw()) for _ in range(20)]
        async with asyncio.timeout(10):
            await running.server.stop(30)
        await asyncio.gather(*connecting, return_exceptions=True)


async def test_stop_tells_those_it_cuts_off_to_come_again() -> None:
    service = FakeService()
    service.create = service.hang
    async with facade(service) as running:
        asking = asyncio.create_task(running.refusal())
        await service.called.wait()
        await running.server.stop(0.01)
        error = await asking
        assert (error["status"], error["code"]) == (503, "server_not_ready")
        await service.cancelled.wait()


async def test_stop_ends_a_stream_with_an_error_and_not_as_if_it_were_done() -> None:
    service = FakeService()

    async def stream(request: Any, context: Any) -> None:
        await context.write(first("never finish"))
        await service.hang(request, context)

    service.stream = stream
    async with facade(service) as running:
        asked: dict[str, Any] = {"json": {**HELLO, "stream": True}, "headers": running.headers}
        async with running.http.post(f"{running.url}/v1/chat/completions", **asked) as answer:
            assert b"never finish" in await answer.content.readuntil(b"\n\n")
            await running.server.stop(0.01)
            rest = await answer.read()
        assert b'"code": "server_not_ready"' in rest
        assert rest.count(b"data:") == 1
        await service.cancelled.wait()


async def test_stop_does_not_wait_for_a_client_that_does_not_read() -> None:
    service = FakeService()
    sent = 0

    async def stream(request: Any, context: Any) -> None:
        nonlocal sent
        service.called.set()
        try:
            while True:
                await context.write(first("x" * 100_000))
                sent += 1
        finally:
            service.cancelled.set()

    service.stream = stream
    async with facade(service) as running:
        _, writer = await running.raw(post(b'{"model":"m","messages":[],"stream":true}'))
        await service.called.wait()
        before = -1
        while sent != before:  # until every buffer on the way is full
            before = sent
            for _ in range(20):
                await running.get("/readyz")
        assert sent
        async with asyncio.timeout(10):
            await running.server.stop(0.01)
        await service.cancelled.wait()
        writer.close()


async def test_keeps_connections_alive() -> None:
    async with facade() as running:
        reader, writer = await running.raw(post(b"{}"), post(b"{}"))
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"close" not in head.lower()
            await reader.readexactly(
                int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
            )
        writer.close()
        assert (await running.ask(HELLO))[0] == 200
