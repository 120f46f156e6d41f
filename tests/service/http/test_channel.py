"""The channel to an upstream: what is asked, and over which connections."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from certificates import self_signed
from raw_http import OK, Peer, answering, answering_once, asking, body_of, serving

from diglot.service.http import Broken, HttpChannel
from diglot.service.http import channel as channels


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
