"""The HTTP listener."""

from __future__ import annotations

import asyncio
import ssl

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .connection import Runner

# Longer than the idle timeout of the usual balancers (60 s), so that it is never the
# server that closes a connection on which the balancer is just sending a request.
_KEEPALIVE_TIMEOUT = 75.0
# For the last words of what is cut off: an error event, or a 503.
_FAREWELL = 1.0


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
    ) -> None:
        self._host = host.removeprefix("[").removesuffix("]")
        self._port = port
        self._ssl_context = ssl_context
        self._handlers: set[asyncio.Task[object]] = set()
        app.middlewares.insert(0, self._track())
        # A handler is cancelled when its client has gone. Without that a generation would
        # outlive its caller. The access log names clients and URLs: the service logs calls.
        self._runner = Runner(
            app,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_TIMEOUT,
        )

    async def start(self) -> None:
        """Returns when connections are accepted. Raises OSError if the address is not to be had."""
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            self._host,
            self._port,
            ssl_context=self._ssl_context,
            # Two servers on one port would share its clients without a word.
            reuse_port=False,
        )
        try:
            await site.start()
        except BaseException:
            await self._runner.cleanup()
            raise

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
        """Refuses new connections at once; answers under way have `grace` seconds to end.

        Afterwards they are ended with an error that tells clients to come again.
        """
        for site in self._runner.sites:
            await site.stop()
        server = self._runner.server
        if server is not None:
            # Requests that have arrived become handlers first.
            await asyncio.sleep(0)
            # aiohttp's own timeout is no use here: where it has passed twice, it drops the
            # connection. All that this does is to close connections, each after its answer.
            closing = asyncio.ensure_future(server.shutdown(grace + 3 * _FAREWELL))
            # Idle connections are closed at once; and once more, as one that was just made
            # does not listen yet.
            for pause in (min(grace, 0.05), grace):
                server.pre_shutdown()
                await asyncio.wait({closing}, timeout=pause)
            # The second time for those that cannot say farewell, as their client does not read.
            for _ in range(2):
                if not closing.done():
                    for handler in self._handlers:
                        handler.cancel()
                    await asyncio.wait({closing}, timeout=_FAREWELL)
            await closing
        await self._runner.cleanup()

    def _track(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            task = asyncio.current_task()
            assert task is not None
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)
            return await handler(request)

        return middleware
