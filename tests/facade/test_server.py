"""The listener: addresses, TLS, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import logging
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


def lines_fields(record: logging.LogRecord) -> dict[str, object]:
    """What a line of a refused request says."""
    assert (record.name, record.levelno, record.message) == ("diglot.http", logging.INFO, "refused")
    usual = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    return {name: value for name, value in vars(record).items() if name not in usual}


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


async def test_what_is_not_http_gets_an_openai_error_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """But a short line, under the id of the answer, which has nothing of what was sent."""
    caplog.set_level(logging.INFO)
    names = []
    async with facade() as running:
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"hello\r\n\r\n"):
            reader, writer = await running.raw(garbage)
            answer = await reader.read()
            assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
            assert b'"type": "invalid_request_error"' in answer
            assert b"This is not a valid HTTP request." in answer
            assert b"hello" not in answer
            names.append(answer.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode())
            writer.close()
    assert [lines_fields(record) for record in caplog.records] == [
        {"request_id": name, "outcome": "invalid_value", "status": 400} for name in names
    ]


@pytest.mark.parametrize(
    ("request_line", "headers", "code", "reason", "limit"),
    [
        (b"GET /v1/models", [b"X-Long: " + b"secret" * 2000], 431, "headers_too_large", "8192"),
        (b"GET /v1/models", [b"X" * 10_000 + b": secret"], 431, "headers_too_large", "8192"),
        (b"GET /v1/models", [b"X: secret"] * 129, 431, "headers_too_large", "128 headers"),
        (b"GET /" + b"secret" * 2000, [], 414, "url_too_long", "8190"),
    ],
    ids=["a header", "its name", "many headers", "a URL"],
)
async def test_what_is_http_but_too_much_of_it_is_told_what(
    request_line: bytes,
    headers: list[bytes],
    code: int,
    reason: str,
    limit: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with facade() as running:
        lines = [request_line + b" HTTP/1.1", b"Host: x", *headers]
        reader, writer = await running.raw(b"\r\n".join(lines) + b"\r\n\r\n")
        head, body = (await reader.read()).split(b"\r\n\r\n")
        writer.close()
    assert int(head.split(b" ")[1]) == code
    assert {b"Connection: close", b"x-should-retry: false"} <= {*head.split(b"\r\n")}
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", reason)
    assert limit in error["message"]
    assert b"secret" not in body
    (record,) = caplog.records
    name = head.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
    assert lines_fields(record) == {"request_id": name, "outcome": reason, "status": code}


async def test_headers_just_within_the_limits_are_taken() -> None:
    async with facade() as running:
        # With Host, Authorization and Content-Length: 128.
        few = [f"X-{i}: y" for i in range(123)]
        for headers in (["X: " + "x" * 8190], few):
            body = json.dumps(HELLO).encode()
            reader, writer = await running.raw(post(body, *headers, "Connection: close"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()


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
