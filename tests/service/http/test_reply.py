"""What upstreams answer, read as it comes, whatever they say."""

from __future__ import annotations

import asyncio

import pytest
from raw_http import CHUNKED, OK, Peer, answering, answering_once, asking, body_of, serving

from diglot.service.http import Broken


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
        [CHUNKED.replace(b"chunked", b"Chunked"), b"3\r\nabc\r\n"],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
        [CHUNKED, b"zz\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"X-Much: " + b"x" * 100_000],
    ],
    ids=[
        *(
            "nothing",
            "half a head",
            "half a body",
            "no last chunk",
            "nor here",
            "no HTTP",
            "an upgrade",
        ),
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
