"""From settings to the objects that serve: the one place that knows all of them."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from diglot.v1.model_pb2 import Model

from ..chat import ChatService
from ..config import (
    EmbeddedModel,
    GrpcSettings,
    HttpSettings,
    ModelSettings,
    ScriptedModel,
    Settings,
    UpstreamModel,
)
from ..engine import Engine
from ..entrance import Authenticator, NoKeys
from ..keys import KeyRing
from ..models import Models, ServedModel
from ..scripted import ScriptedEngine
from ..server import GrpcServer, ServerTls
from ..state import KEYS_FILE, MODELS_DIRECTORY
from ..upstream import Endpoint, UpstreamEngine

MIB = 2**20


class Service:
    """The core and its gRPC face, as the settings want them."""

    def __init__(self, settings: Settings) -> None:
        self.keys = KeyRing(settings.state / KEYS_FILE) if settings.auth.enabled else None
        self.authenticator: Authenticator = self.keys or NoKeys()
        self.models = Models(_served(model, settings) for model in settings.models)
        self.chat = ChatService(self.models)
        self.server = GrpcServer(
            self.chat,
            self.models,
            self.authenticator,
            tls=server_tls(settings.grpc),
            max_message_bytes=settings.grpc.max_message_mib * MIB,
            with_reflection=settings.grpc.reflection,
        )


def _served(model: ModelSettings, settings: Settings) -> ServedModel:
    owner = {"embedded": "diglot", "scripted": "diglot", "upstream": "upstream"}[model.kind]
    public = Model(id=model.name, created=int(time.time()), owned_by=owner)
    return ServedModel(public, _engine(model, settings.state / MODELS_DIRECTORY))


def _engine(model: ModelSettings, directory: Path) -> Engine:
    match model:
        case ScriptedModel():
            return ScriptedEngine()
        case UpstreamModel():
            key = model.api_key.get_secret_value() if model.api_key else None
            endpoint = Endpoint(model.base_url, key, model.connect_timeout_seconds)
            return UpstreamEngine(endpoint, model.upstream_model)
        case EmbeddedModel():
            # Here, so that a server of upstreams does without all that it brings.
            from ..embedded.engine import EmbeddedEngine
            from ..model_store import ModelStore

            return EmbeddedEngine(model, ModelStore(directory))


def server_tls(grpc: GrpcSettings) -> ServerTls | None:
    if grpc.tls_cert is None or grpc.tls_key is None:
        return None
    client_ca = None if grpc.tls_client_ca is None else grpc.tls_client_ca.read_bytes()
    return ServerTls(grpc.tls_cert.read_bytes(), grpc.tls_key.read_bytes(), client_ca)


def https(http: HttpSettings) -> ssl.SSLContext | None:
    if http.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(http.tls_cert, http.tls_key)
    return context
