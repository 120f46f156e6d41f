"""`diglot serve`, `service` and `facade`: the composition root.

The only place that knows both the service and the façade. Everything that is started is
stopped again, in the opposite order, however far the start came.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import uvloop

from diglot.facade import Channel, FacadeOptions, HttpServer, RemoteChannel, build_app

from ..config import Address, Settings
from ..inprocess import InProcessChannel
from ..model_store import ModelStoreError
from ..store import StoreError
from . import announcement
from .arguments import Failure
from .assembly import MIB, Service, channel_credentials, https
from .reload import Reread, hangups, reloading

logger = logging.getLogger("diglot")

T = TypeVar("T")

GRACE = 10.0
"""Seconds that calls in flight have to finish once the server is told to stop."""


def run_serve(settings: Settings, reread: Reread | None) -> int:
    """Both faces, in one process."""
    return _run(_serve(settings, reread, with_http=True))


def run_service(settings: Settings, reread: Reread | None) -> int:
    """The gRPC face alone."""
    return _run(_serve(settings, reread, with_http=False))


def run_facade(settings: Settings) -> int:
    """The HTTP face alone, over a service elsewhere."""
    return _run(_facade(settings))


def _run(main: Coroutine[None, None, None]) -> int:
    uvloop.run(main)
    return 0


async def _serve(settings: Settings, reread: Reread | None, *, with_http: bool) -> None:
    began = time.perf_counter()
    service = Service(settings)
    first_key = announcement.first_key(service.keys)
    async with AsyncExitStack() as running, _until_stopped() as stopped:
        # Without a file there is nothing to read again, and a hangup is the terminal's.
        hangup = running.enter_context(hangups()) if reread else None
        running.push_async_callback(service.close)
        faces = Faces()
        running.push_async_callback(faces.stop)
        port = await _bound(settings.grpc.address, service.server.start(str(settings.grpc.address)))
        faces.add(service.server.stop)
        grpc_address = Address(settings.grpc.address.host, port)
        http_address = None
        if with_http:
            channel = InProcessChannel(service.chat, service.models, service.authenticator)
            http_address = await _serve_http(faces, settings, channel)
        announcement.listening(settings, http_address, grpc_address, first_key)
        if await stopped(_ready(service)):
            announcement.ready(settings, http_address, first_key, time.perf_counter() - began)
            if reread and hangup:
                await stopped(reloading(service, settings, reread, hangup))
            else:
                await stopped(asyncio.get_running_loop().create_future())
        logger.info("stopping")


async def _facade(settings: Settings) -> None:
    async with AsyncExitStack() as running, _until_stopped() as stopped:
        channel = RemoteChannel(settings.facade.service, channel_credentials(settings.facade))
        running.push_async_callback(channel.close)
        faces = Faces()
        running.push_async_callback(faces.stop)
        address = await _serve_http(faces, settings, channel)
        announcement.facade_listening(settings, address)
        await stopped(asyncio.get_running_loop().create_future())
        logger.info("stopping")


async def _serve_http(faces: Faces, settings: Settings, channel: Channel) -> Address:
    http = settings.http
    options = FacadeOptions(
        require_key=settings.auth.enabled,
        timeout=http.timeout_seconds,
        max_body=http.max_body_mib * MIB,
        keepalive=http.keep_alive_seconds,
    )
    server = HttpServer(
        build_app(channel, options), http.address.host, http.address.port, https(http)
    )
    await _bound(http.address, server.start())
    faces.add(server.stop)
    return Address(http.address.host, server.port)


class Faces:
    """The listeners that have started. They stop together: each refuses new calls at once, and
    all of them share one time of grace."""

    def __init__(self) -> None:
        self._stops: list[Callable[[float], Awaitable[None]]] = []

    def add(self, stop: Callable[[float], Awaitable[None]]) -> None:
        self._stops.append(stop)

    async def stop(self) -> None:
        await asyncio.gather(*(stop(GRACE) for stop in self._stops))


async def _ready(service: Service) -> None:
    try:
        await service.start()
    except ModelStoreError as error:
        raise Failure(str(error)) from error
    except StoreError as error:
        raise Failure(f"store.url: {error}") from error


async def _bound(address: Address, starting: Awaitable[T]) -> T:
    try:
        return await starting
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise Failure(f"cannot listen on {address}: {why}") from error


Stopped = Callable[[Awaitable[object]], Coroutine[None, None, bool]]


@asynccontextmanager
async def _until_stopped() -> AsyncIterator[Stopped]:
    """Gives a function that awaits something, or the signal to stop: true if it was done.

    The second SIGINT or SIGTERM ends the process as it would have without us: for who does
    not want to wait for calls in flight.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    async def stopped(work: Awaitable[object]) -> bool:
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            await task
            return True
        finally:
            for future in (task, stopping):
                future.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    yield stopped
