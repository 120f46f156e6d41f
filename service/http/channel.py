"""POSTs to one URL, over connections that are kept for a while."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache

from aiohappyeyeballs import AddrInfoType, addr_to_addr_infos, start_connection
from yarl import URL

from .connection import Connection
from .reply import Broken, Reply

# Seconds; less than servers wait: a request sent into a closing connection is lost.
_KEPT = 3.0
# Seconds for which a name's addresses are believed.
_RESOLVED = 10.0
# Seconds that an address has, until the next one is tried beside it (RFC 8305).
_HEAD_START = 0.25


class HttpChannel:
    """To what one URL names. Sends each request once, and follows no redirect: it would carry the
    key elsewhere.

    The caller's deadline bounds a call, and admission their number: there is no other limit here
    than `connect_timeout`, in seconds.
    """

    def __init__(self, url: str, connect_timeout: float, *, reuse: bool = True) -> None:
        """In the running loop. Without `reuse` each request has a connection of its own. Raises
        ValueError."""
        self._loop = asyncio.get_running_loop()
        where = URL(url)
        if where.scheme not in ("http", "https") or not where.raw_host or not where.port:
            raise ValueError(f"not an HTTP URL: {url}")
        self._host, self._port = where.raw_host, where.port
        self._tls = where.scheme == "https"
        self._connect_timeout = connect_timeout
        self._reuse = reuse
        self._closed = False
        self._head = (
            f"POST {where.raw_path_qs} HTTP/1.1\r\nHost: {where.host_port_subcomponent}\r\n"
            # Tokens come in no faster, and a kilobyte cannot become a gigabyte.
            "Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: diglot\r\n"
            "Content-Type: application/json\r\n"
        )
        if not reuse:
            self._head += "Connection: close\r\n"
        # Whichever was used last comes last.
        self._idle: deque[Connection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._open: set[Connection] = set()
        self._addresses: deque[AddrInfoType] = deque()
        self._believed_until = 0.0

    async def post(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Sends JSON. Returns when the answer has begun; close that when done with it.

        Raises OSError, of which TimeoutError is one, if there is no connection to be had, and
        Broken, which is another, if it breaks.
        """
        request = self._request(headers, body)
        connection = self._kept()
        if connection is None:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._connect()
        reply = connection.ask(request)
        try:
            await reply.begin()
        except BaseException:
            reply.close()
            raise
        return reply

    def close(self) -> None:
        """Calls under way break off."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()

    def _request(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Raises ValueError where a header would be more than one."""
        head = self._head
        for name, value in headers.items():
            line = f"{name}: {value}"
            if "\n" in line or "\r" in line or "\0" in line:
                raise ValueError("A header holds a line break.")
            head += f"{line}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _kept(self) -> Connection | None:
        """A connection that is there and free."""
        oldest = self._loop.time() - _KEPT
        while self._idle:
            connection = self._idle.pop()
            if connection.open and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        sock = await start_connection(
            await self._resolved(), happy_eyeballs_delay=_HEAD_START, interleave=1
        )
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(
                    self._loop, self._keep if self._reuse else None, self._open.discard
                ),
                sock=sock,
                ssl=_tls() if self._tls else None,
                server_hostname=self._host if self._tls else None,
            )
        except BaseException:
            sock.close()
            raise
        self._open.add(connection)
        if self._closed:
            connection.close()
            raise Broken("closed")
        return connection

    async def _resolved(self) -> list[AddrInfoType]:
        """Its addresses, each time with another one in front: several servers may have one name."""
        if not self._addresses or self._believed_until < self._loop.time():
            self._addresses = deque(await self._look_up())
            self._believed_until = self._loop.time() + _RESOLVED
        self._addresses.rotate(-1)
        return list(self._addresses)

    async def _look_up(self) -> Sequence[AddrInfoType]:
        try:
            ipaddress.ip_address(self._host)
        except ValueError:
            return await self._loop.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        return addr_to_addr_infos((self._host, self._port)) or ()

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(_KEPT, self._on_sweep)

    def _on_sweep(self) -> None:
        self._sweep = None
        oldest = self._loop.time() - _KEPT
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.popleft().close()
        if self._idle:
            self._sweep = self._loop.call_at(self._idle[0].idle_since + _KEPT, self._on_sweep)


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
