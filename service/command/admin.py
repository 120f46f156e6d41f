"""The admin port of whatever is started: what it tells, and where it listens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ..config import Address, Settings
from . import announcement
from .arguments import cannot_listen

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ..admin import Gather, Ready
    from ..telemetry.metrics import Metrics
    from .assembly import Core
    from .telemetry import Telemetry

_HEALTH_WITHIN = 2.0


@asynccontextmanager
async def admin_port(
    settings: Settings, gather: Gather, ready: Ready
) -> AsyncIterator[Address | None]:
    """Where it listens meanwhile; None if it is not wanted. Raises Failure."""
    address = settings.admin.address
    if address is None:
        yield None
        return
    # Prometheus' client takes a while to import.
    from ..admin import AdminServer

    server = AdminServer(gather, ready)
    try:
        port = await server.start(address.host, address.port)
    except OSError as error:
        raise cannot_listen(address, error) from error
    address = Address(address.host, port)
    announcement.admin(address)
    try:
        yield address
    finally:
        await server.stop()


class Stopping(Protocol):
    """The faces, as far as it matters here."""

    @property
    def stopping(self) -> bool: ...


class Check(Protocol):
    """Asks for a service's health."""

    def __call__(
        self, request: HealthCheckRequest, *, timeout: float, metadata: Sequence[tuple[str, str]]
    ) -> Awaitable[HealthCheckResponse]: ...


async def service_unready(core: Core, faces: Stopping) -> str | None:
    """Why no call would be answered now."""
    if faces.stopping:
        return "stopping"
    if core.models.ready:
        return None
    return "; ".join(f"{name}: {reason}" for name, reason in core.not_ready.items())


async def facade_unready(check: Check, faces: Stopping) -> str | None:
    """Likewise, of a façade on its own."""
    if faces.stopping:
        return "stopping"
    try:
        health = await check(HealthCheckRequest(), timeout=_HEALTH_WITHIN, metadata=())
    except grpc.aio.AioRpcError:
        return "the service cannot be reached, or is not ready"
    return None if health.status == HealthCheckResponse.SERVING else "the service is not ready"


class Exposition:
    """What this process tells of itself; nothing, where nothing is counted."""

    def __init__(self, telemetry: Telemetry, core: Core | None = None) -> None:
        """Without a core it is a façade alone."""
        self._metrics = telemetry.metrics
        self._core = core
        self._registry = None if self._metrics is None else _registry(self._metrics, core)

    @property
    def ended(self) -> int:
        """Calls and requests of which there is something to tell."""
        return 0 if self._metrics is None else self._metrics.ended

    async def gather(self) -> CollectorRegistry:
        return self._gathered()

    def text(self) -> str:
        """In Prometheus' text, for who adds several processes up."""
        from prometheus_client import generate_latest

        return generate_latest(self._gathered()).decode()

    def _gathered(self) -> CollectorRegistry:
        assert self._metrics is not None, "only with an admin port"
        assert self._registry is not None
        for served in self._core.models.served if self._core is not None else ():
            self._metrics.models[served.label]  # so that it has its zeros before its first call
        return self._registry


def _registry(metrics: Metrics, core: Core | None) -> CollectorRegistry:
    # Prometheus' client takes a while to import: better now than when it is asked.
    from ..telemetry.exposition import registry

    if core is None:
        return registry(metrics)
    return registry(metrics, core.models, core.fleet.deployments)
