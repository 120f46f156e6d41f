"""From settings to the objects that serve: the one place that knows all of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import grpc

from ..chat import ChatService
from ..config import (
    AnthropicModel,
    DiglotModel,
    EmbeddedModel,
    GrpcClient,
    GrpcSettings,
    HttpSettings,
    ScriptedModel,
    Settings,
    SingleModel,
    UpstreamModel,
)
from ..engine import Engine
from ..entrance import NoKeys
from ..inprocess import InProcessChannel
from ..models import Models, Offer
from ..scripted import ScriptedEngine
from ..server import GrpcServer, ServerTls
from ..state import MODELS_DIRECTORY
from ..store import CompletionStore
from ..upstream import Endpoint, UpstreamEngine
from ..upstream.name import UpstreamName
from .fleet import Fleet, Plan
from .key_ring import keys_of
from .telemetry import Telemetry

if TYPE_CHECKING:
    from ..embedded.process import ModelProcess

MIB = 2**20

TOGETHER_WITHIN = 5.0
"""Seconds that the models have to get ready together. Then those that are go ahead: one that is
elsewhere, and down, keeps the others from nothing."""
READY_WITHIN = 60.0
"""Seconds that models of a new configuration have to load while the old ones still answer."""


Processes = Callable[[EmbeddedModel, str], "ModelProcess"]
"""From an embedded model, and the name of the model that it is a part of."""


class Core:
    """What answers calls, whatever carries them, as the settings want it."""

    def __init__(self, settings: Settings, processes: Processes | None = None) -> None:
        self.settings = settings
        """Those that hold."""
        self.keys = keys_of(settings)
        self.telemetry = Telemetry(settings)
        self.authenticator = self.telemetry.counted(self.keys or NoKeys())
        make = partial(_engine, settings, processes or partial(_own, settings))
        self.fleet = Fleet(self.telemetry.engines(make))
        self.models = Models(self.fleet.commit(self.fleet.plan(settings)))
        self._leaving: dict[asyncio.Task[None], tuple[Engine, ...]] = {}
        self.store = _store(settings)
        self.chat = ChatService(
            self.models,
            self.store,
            metrics=self.telemetry.metrics,
            tracing=self.telemetry.tracing,
        )

    async def start(self) -> None:
        """Returns once it is ready. Raises ModelStoreError and StoreError."""
        await self.begin()
        await self.ready()

    async def begin(self) -> None:
        """Starts everything. Where no model is to be fetched, that takes no time.

        Raises ModelStoreError.
        """
        if self.store is not None:
            self.store.start()
        await self.models.start()

    async def ready(self) -> None:
        """Returns once the database can be used, and the models can answer: all of them, or some
        while the others have had TOGETHER_WITHIN. A reload may change meanwhile which they are.

        Raises StoreError.
        """
        await _some_ready(self.models)
        if self.store is not None:
            await self.store.opened()

    @property
    def not_ready(self) -> dict[str, str]:
        """The models that cannot answer now, each with the reason."""
        return {
            served.model.id: served.engine.readiness.reason
            for served in self.models.served
            if not served.engine.readiness.ready
        }

    async def reload(self, settings: Settings) -> Plan:
        """Serves the models of these settings from now on; the rest of them changes nothing.

        New engines have READY_WITHIN to get ready before calls come to them, if they would be
        answered meanwhile; old ones are closed when the last call that uses them has ended. Raises
        ModelStoreError if a model cannot be had: then everything is as it was.
        """
        plan = self.fleet.plan(settings)
        try:
            for engine in plan.started:
                await engine.start()
            if self.models.ready:
                with suppress(TimeoutError):
                    async with asyncio.timeout(READY_WITHIN):
                        for engine in plan.started:
                            await engine.readiness.wait()
        except BaseException:
            await _close(plan.started)
            raise
        earlier = self.models.replace(self.fleet.commit(plan))
        self.settings = self.settings.model_copy(
            update={"models": settings.models, "default_model": settings.default_model}
        )
        if plan.dropped:
            leaving = asyncio.create_task(_close_after(earlier, plan.dropped))
            self._leaving[leaving] = plan.dropped
            leaving.add_done_callback(self._leaving.pop)
        return plan

    async def close(self) -> None:
        """Safe at any time, also before `start`."""
        try:
            leaving = dict(self._leaving)
            for task, engines in leaving.items():
                task.cancel()
                await _close(engines)
            await asyncio.gather(*leaving, return_exceptions=True)
            await self.models.close()
        finally:
            if self.store is not None:
                await self.store.close()
            await self.telemetry.close()


class Service(Core):
    """The core and its gRPC face."""

    def __init__(
        self,
        settings: Settings,
        processes: Processes | None = None,
        *,
        shared_port: bool = False,
    ) -> None:
        super().__init__(settings, processes)
        self.server = GrpcServer(
            self.chat,
            self.models,
            self.authenticator,
            tls=server_tls(settings.grpc),
            max_message_bytes=settings.grpc.max_message_mib * MIB,
            with_reflection=settings.grpc.reflection,
            write_timeout=settings.grpc.write_timeout_seconds,
            shared_port=shared_port,
        )

    def in_process(self) -> InProcessChannel:
        """For a façade in the same process."""
        return InProcessChannel(self.chat, self.models, self.authenticator)


def _store(settings: Settings) -> CompletionStore | None:
    store = settings.store
    if not store.enabled:
        return None
    return CompletionStore(store.database(settings.state), store.max_connections)


async def _some_ready(models: Models) -> None:
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    models.subscribe(changed.set)
    together = loop.time() + TOGETHER_WITHIN
    while not all(engine.readiness.ready for engine in models.engines):
        if models.ready and loop.time() >= together:
            return
        changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(together if loop.time() < together else None):
                await changed.wait()


async def _close(engines: Iterable[Engine]) -> None:
    for engine in engines:
        await engine.close()


async def _close_after(offers: Iterable[Offer], engines: Iterable[Engine]) -> None:
    for offer in offers:
        await offer.idle()
    await _close(engines)


def _engine(settings: Settings, processes: Processes, model: SingleModel, name: str) -> Engine:
    match model:
        case ScriptedModel():
            return ScriptedEngine()
        case UpstreamModel():
            endpoint = Endpoint(
                model.base_url,
                _key(model),
                model.connect_timeout_seconds,
                model.continuous_usage,
                model.unary == "whole",
            )
            return UpstreamEngine(endpoint, UpstreamName(model.upstream_model, name))
        case AnthropicModel():
            from ..anthropic import AnthropicEngine, MessagesEndpoint, Options

            messages = MessagesEndpoint(model.base_url, _key(model), model.connect_timeout_seconds)
            options = Options(
                model.default_max_tokens, model.thinking, model.mid_conversation_system
            )
            return AnthropicEngine(messages, UpstreamName(model.upstream_model, name), options)
        case DiglotModel():
            from ..peer import Peer, PeerEngine

            peer = Peer(
                model.target,
                channel_credentials(model),
                _key(model),
                model.connect_timeout_seconds,
                settings.grpc.max_message_mib * MIB,
                model.unary == "whole",
            )
            return PeerEngine(peer, UpstreamName(model.upstream_model, name))
        case EmbeddedModel():
            # Here, so that a server of upstreams does without all that it brings.
            from ..embedded.engine import EmbeddedEngine

            return EmbeddedEngine(model, processes(model, name), settings.media)


def _own(settings: Settings, model: EmbeddedModel, name: str) -> ModelProcess:
    from ..embedded.process import OwnProcess
    from ..model_store import ModelStore

    store = ModelStore(settings.state / MODELS_DIRECTORY)
    return OwnProcess(model, store, settings.hang_seconds)


def _key(model: UpstreamModel | AnthropicModel | DiglotModel) -> str | None:
    return model.api_key.get_secret_value() if model.api_key else None


def server_tls(grpc: GrpcSettings) -> ServerTls | None:
    if grpc.tls_cert is None or grpc.tls_key is None:
        return None
    client_ca = None if grpc.tls_client_ca is None else grpc.tls_client_ca.read_bytes()
    return ServerTls(grpc.tls_cert.read_bytes(), grpc.tls_key.read_bytes(), client_ca)


def channel_credentials(client: GrpcClient) -> grpc.ChannelCredentials | None:
    if client.tls_ca is None:
        return None
    return grpc.ssl_channel_credentials(
        client.tls_ca.read_bytes(),
        client.tls_key.read_bytes() if client.tls_key else None,
        client.tls_cert.read_bytes() if client.tls_cert else None,
    )


def https(http: HttpSettings) -> ssl.SSLContext | None:
    if http.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(http.tls_cert, http.tls_key)
    return context
