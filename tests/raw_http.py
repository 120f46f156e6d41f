"""An HTTP server that says what it is told, byte for byte, and a channel to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from diglot.service.http import HttpChannel, Reply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.sent = 0
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        """How the other side went; None: in order."""

    async def begun(self) -> None:
        """The next request begins to arrive."""
        await self._reader.readexactly(1)

    async def asked(self) -> tuple[str, bytes]:
        """The next request's head, and its body."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        return head, await self._reader.readexactly(length)

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            self.sent += len(piece)


Behaviour = Callable[[Peer], Awaitable[None]]


class Server:
    def __init__(self) -> None:
        self.port = 0
        self.peers: list[Peer] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions?a=b"


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        server.peers.append(peer)
        try:
            await behave(peer)
            peer.ended.set_result(None)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            peer.ended.set_result(error if isinstance(error, ConnectionError) else None)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        await listening.wait_closed()


@asynccontextmanager
async def asking(url: str, *, reuse: bool = True) -> AsyncIterator[HttpChannel]:
    channel = HttpChannel(url, 5, reuse=reuse)
    try:
        yield channel
    finally:
        channel.close()


async def body_of(reply: Reply) -> bytes:
    data = b""
    try:
        while piece := await reply.read():
            data += piece
    finally:
        reply.close()
    return data


def answering(*pieces: bytes) -> Behaviour:
    async def behave(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.say(*pieces)

    return behave


def answering_once(*pieces: bytes) -> Behaviour:
    async def behave(peer: Peer) -> None:
        await peer.asked()
        await peer.say(*pieces)

    return behave
