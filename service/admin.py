"""The admin port: /metrics for Prometheus, /healthz and /readyz for probes.

It is the core's own, and there whichever faces are. It asks for no key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

Gather = Callable[[], Awaitable[Collector]]
"""Gives what /metrics is to tell."""
Ready = Callable[[], Awaitable[str | None]]
"""Says why no call would be answered now; None if one would."""


class AdminServer:
    """Serves from start() to stop(). Has no calls that would be worth waiting for at its end."""

    def __init__(self, gather: Gather, ready: Ready) -> None:
        self._gather = gather
        self._ready = ready
        app = web.Application()
        app.on_response_prepare.append(_name)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, host: str, port: int) -> int:
        """Returns the port. Raises OSError if the address is not to be had."""
        host = host.removeprefix("[").removesuffix("]")
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, reuse_port=False).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(", ".join(request.headers.getall("Accept", [])))
        collector = await self._gather()
        return web.Response(body=encode(collector), headers={"Content-Type": content_type})

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        try:
            reason = await self._ready()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            reason = type(error).__name__
        if reason is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reason": reason}, status=503)


async def _name(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "diglot"
