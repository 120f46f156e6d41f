"""Fetching images: from a real HTTPS server of every temper, and from nowhere inside."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import web
from certificates import self_signed
from pictures import png
from yarl import URL

from diglot.service import errors
from diglot.service.config import MediaSettings
from diglot.service.media import Web
from diglot.service.media import web as web_module
from diglot.service.media.allowance import Allowance
from diglot.service.media.web import checked, only_public, system_lookup

HOST = "images.test"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def allowance(mib: int = 1) -> Allowance:
    return Allowance(MediaSettings(max_total_mib=mib))


@dataclass
class Site:
    """A server that goes by the name of HOST, and what it was asked."""

    port: int = 0
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    asked: list[web.Request] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    async def resolve(self, host: str) -> list[tuple[str, int]]:
        """As the real resolver does, but that HOST is here."""
        self.looked_up.append(host)
        if host == HOST:
            return [("127.0.0.1", self.port)]
        return list(await only_public(system_lookup)(host))

    async def fetch(self, url: str = f"https://{HOST}/cat.png", seconds: float = 20) -> bytes:
        return await Web(self.resolve, self.trust).fetch(URL(url), allowance(), seconds)


@asynccontextmanager
async def site(handler: Handler, directory: Path, name: str = HOST) -> AsyncIterator[Site]:
    certificate, key = self_signed(directory, "site", name)
    seen = Site()
    seen.trust.load_verify_locations(certificate)

    async def remembered(request: web.Request) -> web.StreamResponse:
        seen.asked.append(request)
        return await handler(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", remembered)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        seen.port = runner.addresses[0][1]
        yield seen
    finally:
        await runner.cleanup()


def answering(
    body: bytes = b"", status: int = 200, content_type: str = "image/png", **headers: str
) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        sent = {"Content-Type": content_type} | headers
        return web.Response(body=body, status=status, headers=sent)

    return handler


async def begun(request: web.Request, **headers: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/png"} | headers)
    await response.prepare(request)
    return response


async def test_an_image_is_fetched(tmp_path: Path) -> None:
    """And whoever has it is told nothing but what it takes to send it."""
    async with site(answering(png()), tmp_path) as seen:
        assert await seen.fetch(f"https://{HOST}/a/cat.png?signed=yes") == png()
    (asked,) = seen.asked
    assert asked.path_qs == "/a/cat.png?signed=yes"
    assert {name.lower() for name in asked.headers} == {
        "host", "accept", "accept-encoding", "user-agent", "connection",
    }  # fmt: skip
    assert asked.headers["Accept-Encoding"] == "identity"


async def endless(request: web.Request) -> web.StreamResponse:
    response = await begun(request)
    while True:
        await response.write(bytes(2**16))


async def dripping(request: web.Request) -> web.StreamResponse:
    response = await begun(request)
    await response.write(b"\x89PNG")
    await asyncio.Event().wait()
    return response


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = await begun(request, **{"Content-Length": "1000"})
    await response.write(b"\x89PNG")
    assert request.transport is not None
    request.transport.abort()
    return response


async def claiming_much(request: web.Request) -> web.StreamResponse:
    """Fails the test if it is waited for."""
    response = await begun(request, **{"Content-Length": str(2**31)})
    await asyncio.Event().wait()
    return response


BAD: list[tuple[str, Handler, str]] = [
    ("not there", answering(b"no", 404), "its host answered with status 404"),
    ("failing", answering(b"oops", 500), "its host answered with status 500"),
    ("half", answering(b"a", 206), "its host answered with status 206"),
    ("redirect", answering(b"", 302, Location="https://127.0.0.1/"), "it redirects"),
    ("redirect to itself", answering(b"", 308, Location="/cat2.png"), "it redirects"),
    ("a page", answering(b"<html>", content_type="text/html"), "it is not an image"),
    ("no type", answering(png(), content_type=""), "it is not an image"),
    ("packed", answering(b"\x1f\x8b", 200, **{"Content-Encoding": "gzip"}), "it is not an image"),
    ("long header", answering(png(), X="y" * 20_000), "does not speak HTTP"),
    ("too large", answering(bytes(2**20 + 1)), "together they are larger than 1 MiB"),
    ("claiming much", claiming_much, "together they are larger than 1 MiB"),
    ("endless", endless, "together they are larger than 1 MiB"),
    ("broken off", broken_off, "broke off"),
]


@pytest.mark.parametrize(("handler", "words"), [row[1:] for row in BAD], ids=[r[0] for r in BAD])
async def test_what_a_public_host_can_do_wrong(
    handler: Handler, words: str, tmp_path: Path
) -> None:
    """Each is told, is the caller's to mend, and is asked for once."""
    async with site(handler, tmp_path) as seen:
        with pytest.raises(errors.InvalidValue, match=words) as refused:
            await seen.fetch(f"https://{HOST}/cat.png?key=secret")
    assert len(seen.asked) == 1
    assert "secret" not in str(refused.value)
    assert "127.0.0.1" not in str(refused.value)


async def test_what_drips_is_not_waited_for(tmp_path: Path) -> None:
    """The time counts for the whole of it, not for each piece."""
    async with site(dripping, tmp_path) as seen:
        with pytest.raises(errors.InvalidValue, match="took longer than"):
            await seen.fetch(seconds=0.3)


async def test_whose_certificate_is_for_another(tmp_path: Path) -> None:
    """Or signed by nobody known: the host is not asked anything."""
    async with site(answering(png()), tmp_path, name="other.test") as seen:
        with pytest.raises(errors.InvalidValue, match="no trusted TLS connection"):
            await seen.fetch()
        seen.trust = ssl.create_default_context()
        with pytest.raises(errors.InvalidValue, match="no trusted TLS connection"):
            await seen.fetch()
    assert not seen.asked


@pytest.mark.parametrize("exists", [True, False])
async def test_a_host_that_does_not_exist_or_where_nobody_listens(exists: bool) -> None:
    """All the same: what is told of the one is told of the other."""

    async def resolve(host: str) -> list[tuple[str, int]]:
        if not exists:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [("127.0.0.1", 1)]

    with pytest.raises(errors.InvalidValue) as refused:
        await Web(resolve).fetch(URL(f"https://{HOST}/cat.png"), allowance(), 20)
    assert str(refused.value) == (
        f"Failed to download image from https://{HOST}/cat.png: its host cannot be reached."
    )


async def test_who_leaves_ends_the_fetching(tmp_path: Path) -> None:
    """At once, while the host still sends."""
    came, left = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await begun(request)
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with site(handler, tmp_path) as seen:
        fetching = asyncio.ensure_future(seen.fetch())
        await came.wait()
        fetching.cancel()
        await left.wait()
        with pytest.raises(asyncio.CancelledError):
            await fetching


async def test_proxies_of_the_environment_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They see another network, and would look the name up there."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with site(answering(png()), tmp_path) as seen:
        assert await seen.fetch() == png()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]", "10.0.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "[fd00::1]", "[fe80::1]", "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]",
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "a..b",
        f"{'a' * 64}.test",
    ],
)  # fmt: skip
async def test_no_host_inside_is_reached(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is written; and the answer is that of a host that does not exist."""

    def connect(*_: object) -> NoReturn:
        raise AssertionError(f"{host} was about to be connected to")

    monkeypatch.setattr(web_module, "_connector", connect)
    with pytest.raises(errors.InvalidValue, match=r": its host cannot be reached\.$"):
        await Web().fetch(URL(f"https://{host}/latest/meta-data"), allowance(), 20)


@pytest.mark.parametrize(
    "addresses", [["8.8.8.8", "10.0.0.1"], ["2606:4700::1111", "::1"], ["::ffff:127.0.0.1"]]
)
async def test_a_name_with_one_address_inside(addresses: list[str]) -> None:
    """Is refused as a whole: which one would be tried is nobody's to choose."""

    async def lookup(host: str) -> Sequence[str]:
        return addresses

    with pytest.raises(OSError):
        await only_public(lookup)(HOST)


async def test_a_name_that_changes_its_mind(tmp_path: Path) -> None:
    """It is looked up once. What was checked is what is connected to."""
    async with site(answering(png()), tmp_path) as seen:
        answers = [[("127.0.0.1", seen.port)]]

        async def resolve(host: str) -> list[tuple[str, int]]:
            return answers.pop(0)  # a second time there is nothing to pop

        image = await Web(resolve, seen.trust).fetch(
            URL(f"https://{HOST}/cat.png"), allowance(), 20
        )
    assert image == png()
    assert not answers


async def test_a_host_in_numbers_does_not_pass_by_the_check(tmp_path: Path) -> None:
    """aiohttp asks no resolver for those: the socket itself knows where it may lead."""
    async with site(answering(png()), tmp_path) as seen:

        async def elsewhere(host: str) -> list[tuple[str, int]]:
            return [("192.0.2.1", seen.port)]

        url = URL(f"https://127.0.0.1:{seen.port}/cat.png")
        with pytest.raises(errors.InvalidValue, match="cannot be reached"):
            await Web(elsewhere, seen.trust).fetch(url, allowance(), 20)
    assert not seen.asked


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://images.test/cat.png", "begins with 'https:' or 'data:'"),
        ("ftp://images.test/cat.png", "begins with 'https:' or 'data:'"),
        ("file:///etc/passwd", "begins with 'https:' or 'data:'"),
        ("blob:https://images.test/1", "begins with 'https:' or 'data:'"),
        ("/cat.png", "begins with 'https:' or 'data:'"),
        ("https:///cat.png", "begins with 'https:' or 'data:'"),
        ("https://[::1/cat.png", "begins with 'https:' or 'data:'"),
        ("https://images.test:99999/", "begins with 'https:' or 'data:'"),
        ("cat", "begins with 'https:' or 'data:'"),
        ("", "begins with 'https:' or 'data:'"),
        ("https://images.test:8443/cat.png", "another port"),
        ("https://images.test:22/", "another port"),
        ("https://me@images.test/", "user name or password"),
        ("https://me:secret@images.test/", "user name or password"),
    ],
)
def test_urls_that_are_not_fetched(url: str, words: str) -> None:
    with pytest.raises(errors.InvalidValue, match=words) as refused:
        checked(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://images.test/", "HTTPS://Images.test:443/a?b#c"])
def test_urls_that_are(url: str) -> None:
    assert checked(url).host == HOST
