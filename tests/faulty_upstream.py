"""An upstream that misbehaves in whatever way, below HTTP if need be."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Exchange:
    """One request, and the socket to answer it on."""

    body: dict[str, object]
    headers: dict[str, str]
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    sent: int = 0
    """Bytes that found their way out."""

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            self.sent += len(piece)

    async def answer(self, *words: str, model: str = "faulty") -> None:
        """Begins a stream of these words, and leaves it open."""
        await self.send(head(), *(event(word, model=model) for word in words))

    def reset(self) -> None:
        """Cuts the connection as a crash does."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Returns once the other side has hung up."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass


Behaviour = Callable[[Exchange], Awaitable[None]]


def head(status: str = "200 OK", content_type: str = "text/event-stream", extra: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nConnection: close\r\n{extra}\r\n"
    ).encode()


def event(content: str | None, finish: str | None = None, model: str = "faulty") -> bytes:
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"model": model, "choices": choices}).encode() + b"\n\n"


def status(line: str, message: str = "", extra: str = "") -> Behaviour:
    """Answers with a status of its own."""

    async def behave(exchange: Exchange) -> None:
        error = json.dumps({"error": {"message": message, "code": "its_code"}}).encode()
        body = error if message else b"<html>"
        extras = f"Content-Length: {len(body)}\r\n{extra}"
        await exchange.send(head(line, "application/json", extras), body)

    return behave


def saying(*words: str, model: str = "good") -> Behaviour:
    """Answers well."""

    async def behave(exchange: Exchange) -> None:
        await exchange.answer(*words, model=model)
        await exchange.send(event(None, "stop", model), b"data: [DONE]\n\n")

    return behave


@dataclass
class FaultyUpstream:
    port: int
    behave: Behaviour
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            exchange = Exchange(body, headers, reader, writer)
            self.exchanges.append(exchange)
            await self.behave(exchange)
        except ConnectionError:
            pass  # as it is meant to be: the other side has had enough
        finally:
            writer.close()


@asynccontextmanager
async def upstream(behave: Behaviour) -> AsyncIterator[FaultyUpstream]:
    faulty = FaultyUpstream(0, behave)
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(faulty.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    faulty.port = server.sockets[0].getsockname()[1]
    try:
        yield faulty
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()
