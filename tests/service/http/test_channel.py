"""The channel to an upstream, against servers that say what they like."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import self_signed

from diglot.service.http import Broken, HttpChannel, Reply
from diglot.service.http import channel as channels

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


async def test_what_is_asked() -> None:
    heads: list[tuple[str, bytes]] = []

    async def behave(peer: Peer) -> None:
        heads.append(await peer.asked())
        await peer.say(OK)

    async with serving(behave) as server, asking(server.url) as channel:
        reply = await channel.post({"Authorization": "Bearer ü"}, b'{"a":1}')
        assert (reply.status, await body_of(reply)) == (200, b"ok")
        host = f"127.0.0.1:{server.port}"
    [(head, body)] = heads
    assert body == b'{"a":1}'
    assert head.split("\r\n") == [
        "POST /v1/chat/completions?a=b HTTP/1.1",
        f"Host: {host}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "User-Agent: diglot",
        "Content-Type: application/json",
        "Authorization: Bearer ü",
        "Content-Length: 7",
        "",
        "",
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_header_stays_one_header(value: str) -> None:
    async with serving(answering(OK)) as server, asking(server.url) as channel:
        with pytest.raises(ValueError, match="line break"):
            await channel.post({"X-Request-Id": value}, b"{}")
        assert server.peers == []


@pytest.mark.parametrize("url", ["ftp://host/v1", "host/v1", "http:///v1"])
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an HTTP URL"):
        HttpChannel(url, 5)


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with serving(answering(OK)) as server, asking(server.url) as channel:
        for _ in range(3):
            assert await body_of(await channel.post({}, b"{}")) == b"ok"
        assert len(server.peers) == 1


async def test_requests_at_a_time_have_a_connection_each() -> None:
    async with serving(answering(OK)) as server, asking(server.url) as channel:
        first, second = await channel.post({}, b"{}"), await channel.post({}, b"{}")
        assert [await body_of(first), await body_of(second)] == [b"ok", b"ok"]
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + OK,
        OK + b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["it says so", "HTTP/1.0", "it answers twice", "it says more"],
)
async def test_a_connection_is_not_used_again(answer: bytes) -> None:
    async with serving(answering(answer)) as server, asking(server.url) as channel:
        for _ in range(2):
            assert await body_of(await channel.post({}, b"{}")) == b"ok"
        assert len(server.peers) == 2


async def test_a_connection_whose_request_was_not_heard_to_its_end_is_not_used_again() -> None:
    heard = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.begun()
        await peer.say(OK)
        await heard.wait()

    async with serving(behave) as server, asking(server.url) as channel:
        for _ in range(2):
            assert await body_of(await channel.post({}, b"x" * 50_000_000)) == b"ok"
        assert len(server.peers) == 2
        heard.set()


async def test_a_server_that_speaks_first_is_none() -> None:
    async def behave(peer: Peer) -> None:
        await peer.say(b"220 mail.example.com ESMTP\r\n")
        await peer.asked()

    async with serving(behave) as server, asking(server.url) as channel:
        with pytest.raises(Broken):
            await channel.post({}, b"{}")


async def test_without_reuse_every_request_has_its_own() -> None:
    async with serving(answering(OK)) as server, asking(server.url, reuse=False) as channel:
        for _ in range(2):
            assert await body_of(await channel.post({}, b"{}")) == b"ok"
        assert len(server.peers) == 2
        assert await server.peers[0].ended is None


async def test_one_that_the_server_closed_meanwhile_is_not_used() -> None:
    async with serving(answering_once(OK)) as server, asking(server.url) as channel:
        assert await body_of(await channel.post({}, b"{}")) == b"ok"
        await server.peers[0].writer.wait_closed()
        await asyncio.sleep(0)
        assert await body_of(await channel.post({}, b"{}")) == b"ok"
        assert len(server.peers) == 2


async def test_one_that_nobody_needs_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_KEPT", 0.05)
    async with serving(answering(OK)) as server, asking(server.url) as channel:
        await body_of(await channel.post({}, b"{}"))
        async with asyncio.timeout(5):
            assert await server.peers[0].ended is None


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([CHUNKED, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"], b"abcde"),
        ([CHUNKED[:20], CHUNKED[20:], b"3\r", b"\na", b"bc\r\n0\r\n", b"\r\n"], b"abc"),
        ([CHUNKED, b"1\r\na\r\n0\r\nX-Late: 1\r\n\r\n"], b"a"),
        ([b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n", OK], b"ok"),
        ([b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK], b"ok"),
    ],
    ids=["chunks", "in drips", "trailers", "100 before", "103 before"],
)
async def test_ways_to_answer(pieces: list[bytes], body: bytes) -> None:
    async with serving(answering(*pieces)) as server, asking(server.url) as channel:
        for _ in range(2):
            reply = await channel.post({}, b"{}")
            assert (reply.status, await body_of(reply)) == (200, body)
            assert not reply.headers.keys() & {"a", "link", "x-late"}
        assert len(server.peers) == 1


async def test_a_body_may_end_with_the_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nabc"
    async with serving(answering_once(answer)) as server, asking(server.url) as channel:
        for _ in range(2):
            assert await body_of(await channel.post({}, b"{}")) == b"abc"


async def test_headers_that_come_twice_are_one() -> None:
    answer = b"HTTP/1.1 429 No\r\nRetry-After: 1\r\nX-A: b\r\nx-a: c\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(answer)) as server, asking(server.url) as channel:
        reply = await channel.post({}, b"{}")
        assert reply.status == 429
        assert reply.headers == {"retry-after": "1", "x-a": "b, c", "content-length": "0"}
        reply.close()


async def test_of_a_long_body_only_its_beginning_may_be_read() -> None:
    answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000
    async with serving(answering(answer)) as server, asking(server.url) as channel:
        reply = await channel.post({}, b"{}")
        assert await reply.read_up_to(1000) == b"x" * 1000
        reply.close()
        assert isinstance(await server.peers[0].ended, ConnectionResetError)


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"HTTP/1.1 200 OK\r\nContent-Le"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"],
        [CHUNKED, b"3\r\nabc\r\n"],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
        [CHUNKED, b"zz\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"X-Much: " + b"x" * 100_000],
    ],
    ids=[
        *("nothing", "half a head", "half a body", "no last chunk", "no HTTP", "an upgrade"),
        *("no chunk", "two lengths", "headers without end"),
    ],
)
async def test_an_answer_that_is_none(pieces: list[bytes]) -> None:
    async with serving(answering_once(*pieces)) as server, asking(server.url) as channel:
        with pytest.raises(Broken):
            await body_of(await channel.post({}, b"{}"))


async def test_trailers_without_end_are_not_kept() -> None:
    line = b"X-More: " + b"x" * 1000 + b"\r\n"
    answer = CHUNKED + b"0\r\n" + line * 1000
    async with serving(answering_once(answer)) as server, asking(server.url) as channel:
        reply = await channel.post({}, b"{}")
        with pytest.raises(Broken):
            await body_of(reply)
        assert reply.headers == {"transfer-encoding": "chunked"}


async def test_who_does_not_read_makes_the_server_wait() -> None:
    piece = b"%x\r\n%s\r\n" % (2**16, b"x" * 2**16)

    async def behave(peer: Peer) -> None:
        await peer.asked()
        await peer.say(CHUNKED)
        await peer.say(*[piece] * 500)
        await peer.say(b"0\r\n\r\n")

    async with serving(behave) as server, asking(server.url) as channel:
        reply = await channel.post({}, b"{}")
        [peer] = server.peers
        before = -1
        async with asyncio.timeout(20):
            while peer.sent != before:  # until it stands still
                before = peer.sent
                await asyncio.sleep(0.1)
        assert peer.sent < 2**24
        size = 0
        while data := await reply.read():
            size += len(data)
        assert size == 500 * 2**16
        reply.close()


async def test_who_stops_reading_ends_the_answer_by_a_reset() -> None:
    async with (
        serving(answering(CHUNKED, b"3\r\nabc\r\n")) as server,
        asking(server.url) as channel,
    ):
        reply = await channel.post({}, b"{}")
        assert await reply.read() == b"abc"
        reply.close()
        assert isinstance(await server.peers[0].ended, ConnectionResetError)


async def test_who_leaves_before_the_answer_does_so_too() -> None:
    asked = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.asked()
        asked.set()
        await peer.asked()

    async with serving(behave) as server, asking(server.url) as channel:
        task = asyncio.create_task(channel.post({}, b"{}"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(await server.peers[0].ended, ConnectionResetError)


async def test_closing_breaks_off_what_is_under_way() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\nabc"
    async with serving(answering(endless)) as server, asking(server.url) as channel:
        reply = await channel.post({}, b"{}")
        assert await reply.read() == b"abc"
        channel.close()
        with pytest.raises(Broken):
            await reply.read()
        reply.close()


async def test_nobody_listens() -> None:
    async with serving(answering(OK)) as server:
        url = server.url
    async with asking(url) as channel:
        with pytest.raises(ConnectionRefusedError):
            await channel.post({}, b"{}")


async def test_a_name_that_is_not_known() -> None:
    async with asking("http://no-such-host.invalid/v1") as channel:
        with pytest.raises(OSError, match=r".+"):
            await channel.post({}, b"{}")


async def test_a_name_with_several_addresses() -> None:
    """localhost is one where there is IPv6; the one that listens is found."""
    async with serving(answering(OK)) as server:
        channel = HttpChannel(server.url.replace("127.0.0.1", "localhost"), 5)
        assert await body_of(await channel.post({}, b"{}")) == b"ok"
        channel.close()


async def test_connecting_takes_no_longer_than_it_may() -> None:
    """A server that takes connections and never shakes hands."""

    async def behave(peer: Peer) -> None:
        await peer.asked()

    async with serving(behave) as server:
        channel = HttpChannel(server.url.replace("http:", "https:"), 0.05)
        with pytest.raises(TimeoutError):
            await channel.post({}, b"{}")
        channel.close()


async def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = self_signed(tmp_path, "server", "localhost")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate, key)
    async with serving(answering(OK), served) as server:
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        async with asking(url) as channel:
            with pytest.raises(ssl.SSLCertVerificationError):
                await channel.post({}, b"{}")
        monkeypatch.setattr(
            channels, "_tls", lambda: ssl.create_default_context(cafile=certificate)
        )
        async with asking(url) as channel:
            for _ in range(2):
                assert await body_of(await channel.post({}, b"{}")) == b"ok"
