"""Clients that send too slowly, and clients that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

from .fake import HELLO, KEY, Facade, FakeService, chunk, completion, facade, first, last, post

STREAM = json.dumps({**HELLO, "stream": True}).encode()
BODY = json.dumps(HELLO).encode()


async def time_passes(running: Facade) -> None:
    """As much of it as a connection has for its first request's headers."""
    reader, _ = await running.raw()
    assert await reader.read() == b""


async def answered(reader: asyncio.StreamReader) -> bytes:
    """The status of a whole answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]))
    return head.split(b" ", 2)[1]


async def test_headers_that_drip_are_cut_off_with_an_answer() -> None:
    async with facade(headers_timeout=0.1) as running:
        reader, writer = await running.raw(b"POST /v1/chat/completions HTTP/1.1\r\nX: ")

        async def drip() -> None:
            with suppress(ConnectionError):
                while True:
                    await running.get("/healthz")
                    writer.write(b"1")  # no header is too long before the time is up
                    await writer.drain()

        dripping = asyncio.ensure_future(drip())
        answer = await reader.readuntil(b"}}")
        dripping.cancel()
        head, body = answer.split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"Connection: close" in head
        assert b"x-should-retry: false" in head
        assert f"Content-Length: {len(body)}".encode() in head
        error = json.loads(body)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "request_timeout")


async def test_who_connects_and_says_nothing_is_cut_off_without_a_word() -> None:
    """An answer would be taken for that to the request which is just being sent."""
    async with facade(headers_timeout=0.05) as running:
        reader, _ = await running.raw()
        assert await reader.read() == b""


async def test_a_connection_that_was_used_waits_for_the_next_request() -> None:
    async with facade(headers_timeout=0.2) as running:
        reader, writer = await running.raw(post(BODY))
        assert await answered(reader) == b"200"
        await time_passes(running)
        writer.write(post(BODY))
        assert await answered(reader) == b"200"


async def test_a_long_answer_is_not_cut_off_by_the_time_for_headers() -> None:
    service = FakeService()
    go_on = asyncio.Event()

    async def stream(request: Any, context: Any) -> None:
        await context.write(first())
        await go_on.wait()
        await context.write(last())

    service.stream = stream
    async with facade(service, headers_timeout=0.2) as running:
        reader, _ = await running.raw(post(STREAM))
        await reader.readuntil(b"data: ")
        await time_passes(running)
        go_on.set()
        await reader.readuntil(b"data: [DONE]")


async def test_a_body_that_drips_is_cut_off() -> None:
    async with facade(body_timeout=0.1) as running:
        head = post(b"").replace(b"Content-Length: 0", b"Content-Length: 50000")
        reader, writer = await running.raw(head)

        async def drip() -> None:
            with suppress(ConnectionError):
                while True:
                    await running.get("/healthz")
                    writer.write(b" ")
                    await writer.drain()

        dripping = asyncio.ensure_future(drip())
        answer = await reader.readuntil(b"}}")
        dripping.cancel()
        head, body = answer.split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"Connection: close" in head
        assert b"x-should-retry: false" in head
        error = json.loads(body)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "request_timeout")
        assert error["message"].startswith("The body of your request took longer ")


async def test_a_large_body_has_more_time() -> None:
    """A second more for each 64 KiB that came."""
    async with facade(body_timeout=0.05, headers_timeout=0.2) as running:
        body = BODY + b" " * 2 * 2**16
        request = post(body)
        reader, writer = await running.raw(request[: -(2**16)])
        await time_passes(running)
        writer.write(request[-(2**16) :])
        assert await answered(reader) == b"200"


class Endless(FakeService):
    """Streams as much as it gets rid of."""

    def __init__(self, piece: int) -> None:
        super().__init__()
        self.piece = "x" * piece
        self.sent = 0
        self.stream = self._endless

    async def _endless(self, request: Any, context: Any) -> None:
        if request.messages[0].content == "paced":
            for _ in range(3):
                await context.write(chunk("tick"))
                await self.cancelled.wait()
            await context.write(last())
            return
        try:
            while True:
                await context.write(chunk(self.piece))
                self.sent += len(self.piece)
        finally:
            self.cancelled.set()


async def test_who_does_not_read_is_cut_off_and_the_generation_ends() -> None:
    """What the server holds for it meanwhile is bounded; another stream goes on undisturbed."""
    service = Endless(10_000)
    async with facade(service, write_timeout=0.3) as running:
        messages = [{"role": "user", "content": "paced"}]
        paced = asyncio.ensure_future(running.events(messages=messages))
        _, writer = await running.raw(post(STREAM))
        await service.cancelled.wait()
        # The buffers of two sockets, of gRPC's window, and 64 KiB of ours.
        assert service.sent < 24 * 2**20
        assert (await paced).endswith(b"data: [DONE]\n\n")
        writer.close()


async def test_who_reads_slowly_is_not_cut_off() -> None:
    """Though what is left to be sent stays large: it is less each time that one looks."""
    service = FakeService()
    length = 12 * 2**20

    async def create(request: Any, context: Any) -> Any:
        answer = completion()
        answer.choices[0].message.content = "x" * length
        return answer

    service.create = create
    async with facade(service, write_timeout=1.0, headers_timeout=0.15) as running:
        reader, _ = await running.raw(post(BODY))
        taken = 0
        for _ in range(9):
            await time_passes(running)
            taken += len(await reader.readexactly(2**19))
        while taken < length:
            taken += len(await reader.readexactly(2**16))


async def test_who_vanishes_is_noticed_though_little_was_sent() -> None:
    """Less than would make a writer wait: only the kernel knows that nobody takes it."""
    service = FakeService()

    async def stream(request: Any, context: Any) -> None:
        await context.write(first("x" * 50_000))
        await service.hang(request, context)

    service.stream = stream
    async with facade(service, write_timeout=0.3) as running:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", running.server.port))
        client.sendall(post(STREAM, key=KEY))
        await service.cancelled.wait()
        client.close()
