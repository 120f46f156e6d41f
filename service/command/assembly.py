"""From settings to the objects that serve: the one place that knows all of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

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
from ..entrance import Authenticator, NoKeys
from ..keys import KeyRing, KeyRingError
from ..models import Models, Offer
from ..scripted import ScriptedEngine
from ..server import GrpcServer, ServerTls
from ..state import KEYS_FILE, MODELS_DIRECTORY
from ..store import CompletionStore
from ..upstream import Endpoint, UpstreamEngine
from ..upstream.name import UpstreamName
from .fleet import Fleet, Plan

MIB = 2**20

READY_WITHIN = 60.0
"""Seconds that models of a new configuration have to load while the old ones still answer."""


class Core:
    """What answers calls, whatever carries them, as the settings want it."""

    def __init__(self, settings: Settings) -> None:
        self.keys = _keys(settings)
        self.authenticator: Authenticator = self.keys or NoKeys()
        self._fleet = Fleet(partial(_engine, settings))
        self.models = Models(self._fleet.commit(self._fleet.plan(settings)))
        self._leaving: dict[asyncio.Task[None], tuple[Engine, ...]] = {}
        self.store = _store(settings)
        self.chat = ChatService(self.models, self.store)

    async def start(self) -> None:
        """Returns once every model can answer, and the database can be used.

        Raises ModelStoreError and StoreError.
        """
        if self.store is not None:
            self.store.start()
        await self.models.start()
        for engine in self.models.engines:
            await engine.readiness.wait()
        if self.store is not None:
            await self.store.opened()

    async def reload(self, settings: Settings) -> Plan:
        """Serves the models of these settings from now on; the rest of them changes nothing.

        New engines have READY_WITHIN to get ready before calls come to them; old ones are closed
        when the last call that uses them has ended. Raises ModelStoreError if a model cannot be
        had: then everything is as it was.
        """
        plan = self._fleet.plan(settings)
        try:
            for engine in plan.started:
                await engine.start()
            with suppress(TimeoutError):
                async with asyncio.timeout(READY_WITHIN):
                    for engine in plan.started:
                        await engine.readiness.wait()
        except BaseException:
            await _close(plan.started)
            raise
        earlier = self.models.replace(self._fleet.commit(plan))
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


class Service(Core):
    """The core and its gRPC face."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.server = GrpcServer(
            self.chat,
            self.models,
            self.authenticator,
            tls=server_tls(settings.grpc),
            max_message_bytes=settings.grpc.max_message_mib * MIB,
            with_reflection=settings.grpc.reflection,
        )


def _keys(settings: Settings) -> KeyRing | None:
    if not settings.auth.enabled:
        return None
    named = settings.auth.keys_file
    if named is None:
        return KeyRing(settings.state / KEYS_FILE)
    if not named.is_file():
        raise KeyRingError(f"auth.keys_file: there is no file {named}")
    return KeyRing(named)


def _store(settings: Settings) -> CompletionStore | None:
    store = settings.store
    if not store.enabled:
        return None
    return CompletionStore(store.database(settings.state), store.max_connections)


async def _close(engines: Iterable[Engine]) -> None:
    for engine in engines:
        await engine.close()


async def _close_after(offer: Offer, engines: Iterable[Engine]) -> None:
    await offer.idle()
    await _close(engines)


def _engine(settings: Settings, model: SingleModel, name: str) -> Engine:
    match model:
        case ScriptedModel():
            return ScriptedEngine()
        case UpstreamModel():
            endpoint = Endpoint(model.base_url, _key(model), model.connect_timeout_seconds)
            return UpstreamEngine(endpoint, UpstreamName(model.upstream_model, name))
        case AnthropicModel():
            from ..anthropic import AnthropicEngine, MessagesEndpoint, Options

            messages = MessagesEndpoint(model.base_url, _key(model), model.connect_timeout_seconds)
            options = Options(model.default_max_tokens, model.thinking)
            return AnthropicEngine(messages, UpstreamName(model.upstream_model, name), options)
        case DiglotModel():
            from ..peer import Peer, PeerEngine

            peer = Peer(
                model.target,
                channel_credentials(model),
                _key(model),
                model.connect_timeout_seconds,
                settings.grpc.max_message_mib * MIB,
            )
            return PeerEngine(peer, UpstreamName(model.upstream_model, name))
        case EmbeddedModel():
            # Here, so that a server of upstreams does without all that it brings.
            from ..embedded.engine import EmbeddedEngine
            from ..model_store import ModelStore

            store = ModelStore(settings.state / MODELS_DIRECTORY)
            return EmbeddedEngine(model, store, settings.media)


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
