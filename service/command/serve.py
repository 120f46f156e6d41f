"""`diglot serve`, `service` and `facade`: the composition root.

The only place that knows both the service and the façade. Everything that is started is
stopped again, in the opposite order, however far the start came.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

import uvloop

from diglot.facade import Channel, FacadeOptions, HttpServer, RemoteChannel, Watch, build_app

from ..config import Address, Settings
from ..model_store import ModelStoreError
from ..store import StoreError
from . import announcement
from .admin import Exposition, admin_port, facade_unready, service_unready
from .arguments import Failure, cannot_listen
from .assembly import MIB, Service, channel_credentials, https
from .garbage import settle
from .reload import Reread, core_reload, nothing_to_reload, reloading
from .signals import asked_by, beside, until_stopped
from .telemetry import Telemetry

logger = logging.getLogger("diglot")

T = TypeVar("T")


def run_serve(settings: Settings, reread: Reread | None) -> int:
    """Both faces, in one process."""
    return _run(_serve(settings, reread, with_http=True))


def run_service(settings: Settings, reread: Reread | None) -> int:
    """The gRPC face alone."""
    return _run(_serve(settings, reread, with_http=False))


def run_facade(settings: Settings, reread: Reread | None) -> int:
    """The HTTP face alone, over a service elsewhere."""
    return _run(_facade(settings, reread))


def _run(main: Coroutine[None, None, None]) -> int:
    uvloop.run(main)
    return 0


async def _serve(settings: Settings, reread: Reread | None, *, with_http: bool) -> None:
    began = time.perf_counter()
    service = Service(settings)
    first_key = announcement.first_key(service.keys)
    async with AsyncExitStack() as running, until_stopped() as stopped:
        # Without a file there is nothing to read again, and a hangup is the terminal's.
        hangup = running.enter_context(asked_by(signal.SIGHUP)) if reread else None
        running.push_async_callback(service.close)
        faces = Faces(settings, watch=service.telemetry.http_watch)
        exposition = Exposition(service.telemetry, service)
        unready = partial(service_unready, service, faces)
        await running.enter_async_context(admin_port(settings, exposition.gather, unready))
        running.push_async_callback(faces.stop)
        grpc_address = await faces.serve_grpc(service)
        http_address = await faces.serve_http(service.in_process()) if with_http else None
        announcement.listening(settings, http_address, grpc_address, first_key)
        if await stopped(or_failure(service.begin())):
            if reread and hangup:
                # From here on: where no model gets ready, another configuration may help.
                await running.enter_async_context(
                    beside(reloading(core_reload(service), lambda: settings, reread, hangup))
                )
            if await stopped(or_failure(service.ready())):
                seconds = time.perf_counter() - began
                announcement.ready(
                    service.settings, http_address, first_key, seconds, service.not_ready
                )
                settle()
                await stopped(asyncio.get_running_loop().create_future())
        logger.info("stopping")


async def _facade(settings: Settings, reread: Reread | None) -> None:
    async with AsyncExitStack() as running, until_stopped() as stopped:
        hangup = running.enter_context(asked_by(signal.SIGHUP)) if reread else None
        channel = remote_channel(settings)
        running.push_async_callback(channel.close)
        telemetry = Telemetry(settings)
        running.push_async_callback(telemetry.close)
        faces = Faces(settings, watch=telemetry.http_watch)
        exposition = Exposition(telemetry)
        unready = partial(facade_unready, channel.Check, faces)
        await running.enter_async_context(admin_port(settings, exposition.gather, unready))
        running.push_async_callback(faces.stop)
        address = await faces.serve_http(channel)
        announcement.facade_listening(settings, address)
        settle()
        if reread and hangup:
            await stopped(reloading(nothing_to_reload, lambda: settings, reread, hangup))
        else:
            await stopped(asyncio.get_running_loop().create_future())
        logger.info("stopping")


def remote_channel(settings: Settings) -> RemoteChannel:
    """To the service that a façade on its own has its answers from."""
    return RemoteChannel(settings.facade.service, channel_credentials(settings.facade))


class Faces:
    """The listeners that have started. They stop together: each refuses new calls at once, and
    all of them share one time of grace.

    `sockets` listen for HTTP already, where several processes share a port.
    """

    def __init__(
        self,
        settings: Settings,
        sockets: Sequence[socket.socket] = (),
        watch: Watch | None = None,
    ) -> None:
        self.stopping = False
        self._settings = settings
        self._watch = watch
        self._sockets = sockets
        self._stops: list[Callable[[float], Awaitable[None]]] = []

    async def serve_grpc(self, service: Service, address: Address | None = None) -> Address:
        """Where it listens. Raises Failure."""
        address = address or self._settings.grpc.address
        port = await _bound(address, service.server.start(str(address)))
        self._stops.append(service.server.stop)
        return Address(address.host, port)

    async def serve_http(self, channel: Channel) -> Address:
        """Likewise."""
        http = self._settings.http
        options = FacadeOptions(
            require_key=self._settings.auth.enabled,
            timeout=http.timeout_seconds,
            max_body=http.max_body_mib * MIB,
            keepalive=http.keep_alive_seconds,
            headers_timeout=http.headers_timeout_seconds,
            body_timeout=http.body_timeout_seconds,
            write_timeout=http.write_timeout_seconds,
            allowed_origins=http.allowed_origins,
        )
        host, port = http.address.host, http.address.port
        server = HttpServer(
            build_app(channel, options, self._watch), host, port, https(http), self._sockets
        )
        await _bound(http.address, server.start())
        self._stops.append(server.stop)
        return Address(host, server.port)

    async def stop(self) -> None:
        self.stopping = True
        await asyncio.gather(*(stop(self._settings.grace_seconds) for stop in self._stops))


async def or_failure(starting: Awaitable[None]) -> None:
    """What the person at the command line is told if the core does not start."""
    try:
        await starting
    except ModelStoreError as error:
        raise Failure(str(error)) from error
    except StoreError as error:
        raise Failure(f"store.url: {error}") from error


async def _bound(address: Address, starting: Awaitable[T]) -> T:
    try:
        return await starting
    except OSError as error:
        raise cannot_listen(address, error) from error
