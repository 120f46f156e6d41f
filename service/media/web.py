"""Images on the web, fetched for callers: from public addresses, and from nowhere else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ..errors import InvalidValue
from .address import is_public
from .allowance import Allowance

PORT = 443
"""The only one. Others would let callers knock on doors from here, and no image needs them."""

Lookup = Callable[[str], Awaitable[Sequence[str]]]
Resolve = Callable[[str], Awaitable[Sequence[tuple[str, int]]]]

_HEADERS = {
    "Accept": "image/png, image/jpeg, image/gif, image/bmp;q=0.5",
    # What comes is counted as it comes, not after something has unpacked it.
    "Accept-Encoding": "identity",
    "User-Agent": "diglot",
}
_LONGEST_SHOWN = 100


async def system_lookup(host: str) -> list[str]:
    """The addresses of a host, in words or in numbers of any spelling. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    return [str(socket_address[0]) for *_, socket_address in found]


def only_public(lookup: Lookup) -> Resolve:
    """Raises OSError if any one of a host's addresses is not public: one with a foot inside is
    not trusted with the other."""

    async def resolve(host: str) -> list[tuple[str, int]]:
        addresses = await lookup(host)
        if not all(map(is_public, addresses)):
            raise OSError
        return [(address, PORT) for address in addresses]

    return resolve


def checked(text: str) -> URL:
    """The URL if it is one that may be fetched. Raises InvalidValue."""
    try:
        url = URL(text)
        valid = url.scheme == "https" and url.host
        default_port = url.port == PORT
    except ValueError:
        valid = False
    if not valid:
        raise InvalidValue("Invalid image URL: expected one that begins with 'https:' or 'data:'.")
    if not default_port:
        raise InvalidValue("Invalid image URL: it must not name another port than HTTPS's own.")
    if url.user is not None or url.password is not None:
        raise InvalidValue("Invalid image URL: it must not hold a user name or password.")
    return url


class Web:
    """The web as this server may see it.

    `resolve` says where a host is, and whether it may be asked at all: by default, any that is
    public. `trust` is what TLS trusts: by default, what the system does.
    """

    def __init__(self, resolve: Resolve | None = None, trust: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve or only_public(system_lookup)
        self._trust = trust

    async def fetch(self, url: URL, allowance: Allowance, seconds: float) -> bytes:
        """What is there, if it says that it is an image. Raises InvalidValue.

        What went wrong is told only of hosts that are public: whether a name means something
        inside is not to be learnt here.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._fetch(url, allowance)
        except TimeoutError:
            raise _failed(url, f"it took longer than {seconds:g} s") from None
        except aiohttp.ClientSSLError:
            raise _failed(url, "there is no trusted TLS connection to its host") from None
        except aiohttp.ClientConnectorError:
            raise _failed(url, _UNREACHABLE) from None
        except aiohttp.ClientError:
            raise _failed(url, "its host broke off, or does not speak HTTP") from None

    async def _fetch(self, url: URL, allowance: Allowance) -> bytes:
        assert url.host is not None
        try:
            addresses = await self._resolve(url.host)
        except (OSError, UnicodeError):
            raise _failed(url, _UNREACHABLE) from None
        async with (
            # One for each image: no cookie or connection outlives it.
            aiohttp.ClientSession(
                connector=_connector(addresses, self._trust),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,  # a proxy would resolve the name again, by its own lights
                auto_decompress=False,
            ) as session,
            session.get(url, headers=_HEADERS, allow_redirects=False) as response,
        ):
            if 300 <= response.status < 400:
                raise _failed(url, "it redirects, which is not followed; give its final URL")
            if response.status != 200:
                raise _failed(url, f"its host answered with status {response.status}")
            encoding = response.headers.get("Content-Encoding", "identity").lower()
            if not response.content_type.startswith("image/") or encoding != "identity":
                raise _failed(url, "it is not an image")
            return await _read(response, allowance)


_UNREACHABLE = "its host cannot be reached"


async def _read(response: aiohttp.ClientResponse, allowance: Allowance) -> bytes:
    announced = response.content_length or 0
    allowance.take_bytes(announced)
    whole = bytearray()
    async for piece in response.content.iter_any():
        whole += piece
        beyond = len(whole) - announced
        if beyond > 0:
            announced += beyond
            allowance.take_bytes(beyond)
    return bytes(whole)


def _connector(
    addresses: Sequence[tuple[str, int]], trust: ssl.SSLContext | None
) -> aiohttp.TCPConnector:
    """Connects to these addresses, whatever the URL's host is or becomes."""
    allowed = {ip_address(address) for address, _ in addresses}

    def open_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, socket_address = info
        # Hosts in numbers do not pass by the resolver.
        if ip_address(socket_address[0]) not in allowed:
            raise OSError
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        resolver=_Resolved(addresses),
        socket_factory=open_socket,
        ssl=trust or True,
        force_close=True,
    )


class _Resolved(AbstractResolver):
    """Resolves nothing anew: between two answers of a name server all can change."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address, port in self._addresses
        ]

    async def close(self) -> None:
        pass


def _failed(url: URL, why: str) -> InvalidValue:
    """In OpenAI's words. The query stays out: signatures are secrets."""
    shown = str(url.with_query(None).with_fragment(None))
    if len(shown) > _LONGEST_SHOWN:
        shown = shown[:_LONGEST_SHOWN] + "…"
    return InvalidValue(f"Failed to download image from {shown}: {why}.")
