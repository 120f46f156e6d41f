"""The HTTP listener."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence

from aiohttp import web

from .connection import Connection, Patience, Runner
from .options import OPTIONS, FacadeOptions

# Longer than the idle timeout of the usual balancers (60 s), so that it is never the
# server that closes a connection on which the balancer is just sending a request.
_KEEPALIVE_TIMEOUT = 75.0
# For the last words of what is cut off: an error event, or a 503.
_FAREWELL = 1.0
# What a connection of a server that stops must be silent for to be closed without a word: a
# client that just uses it may have sent a request that is not here yet. Looked at so often, as on
# a busy machine time alone says little.
_SILENCE = 0.5
_LOOKS = 10

STOPPING = web.AppKey("stopping", asyncio.Event)
"""Set once the server is to stop."""


class HttpServer:
    """Serves an application on one address, from start() to stop().

    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    server.address  # "127.0.0.1:40213"
    await server.stop(grace=10)
    """

    def __init__(
        self,
        app: web.Application,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """`sockets` listen already, perhaps for other processes too; host and port then only name
        them."""
        self._host = host.removeprefix("[").removesuffix("]")
        self._port = port
        self._ssl_context = ssl_context
        self._sockets = sockets
        self._stopping = app[STOPPING] = asyncio.Event()
        app.on_response_prepare.append(self._say_close)
        options = app.get(OPTIONS, FacadeOptions())
        # A handler is cancelled when its client has gone. Without that a generation would
        # outlive its caller. The access log names clients and URLs: the service logs calls.
        self._runner = Runner(
            app,
            Patience(options.headers_timeout, options.write_timeout),
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_TIMEOUT,
        )

    async def start(self) -> None:
        """Returns when connections are accepted. Raises OSError if the address is not to be had."""
        await self._runner.setup()
        try:
            for site in self._sites():
                await site.start()
        except BaseException:
            await self._runner.cleanup()
            raise

    def _sites(self) -> list[web.BaseSite]:
        tls = self._ssl_context
        if self._sockets:
            return [web.SockSite(self._runner, each, ssl_context=tls) for each in self._sockets]
        # Two servers on one port would share its clients without a word.
        return [
            web.TCPSite(self._runner, self._host, self._port, ssl_context=tls, reuse_port=False)
        ]

    @property
    def port(self) -> int:
        """The port in use, also if port 0 was asked for."""
        addresses = self._runner.addresses
        return int(addresses[0][1]) if addresses else self._port

    @property
    def address(self) -> str:
        """HOST:PORT, fit for a URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self.port}"

    async def stop(self, grace: float) -> None:
        """Is not ready any more, and takes no new connection. Whoever has one is answered on it,
        and told with the answer that it ends; answers under way have `grace` seconds.

        Afterwards they are ended with an error that tells clients to come again.
        """
        self._stopping.set()
        # To close a port resets connections that nobody has accepted yet.
        for _ in range(2):
            await asyncio.sleep(0)
        for site in self._runner.sites:
            await site.stop()
        server = self._runner.server
        if server is not None:
            await _drain(server, grace)
            # aiohttp's own timeout is no use here: where it has passed twice, it drops the
            # connection. All that this does is to close connections, each after its answer.
            closing = asyncio.ensure_future(server.shutdown(3 * _FAREWELL))
            # Once more, as one that was just made does not listen yet.
            for _ in range(2):
                server.pre_shutdown()
                await asyncio.wait({closing}, timeout=0.05)
            # The second time for those that cannot say farewell, as their client does not read.
            for _ in range(2):
                if not closing.done():
                    for connection in _connections(server):
                        connection.cancel_answer()
                    await asyncio.wait({closing}, timeout=_FAREWELL)
            await closing
        await self._runner.cleanup()

    async def _say_close(self, request: web.Request, response: web.StreamResponse) -> None:
        """Or its client would ask again on a connection that is about to be closed."""
        if self._stopping.is_set():
            response.force_close()
            response.headers["Connection"] = "close"


async def _drain(server: web.Server, grace: float) -> None:
    """Closes connections as they fall silent, until there are none, or time is over."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + grace
    while server.connections and (left := ends - loop.time()) > 0:
        for connection in _connections(server):
            connection.close_if_silent(_LOOKS)
        await asyncio.sleep(min(left, _SILENCE / _LOOKS))
        # Timers come first in a turn of the loop: what has arrived meanwhile is to be seen.
        await asyncio.sleep(0)


def _connections(server: web.Server) -> Iterator[Connection]:
    for connection in server.connections:
        assert isinstance(connection, Connection)
        yield connection
