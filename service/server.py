"""The gRPC face: a grpc.aio server with health, reflection, TLS, and limits."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from diglot.v1 import chat_pb2, chat_pb2_grpc, model_pb2, model_pb2_grpc

from .chat import ChatService
from .entrance import Authenticator
from .models import Models
from .servicer import ChatServicer, ModelServicer
from .wire import wire

logger = logging.getLogger("diglot.grpc")

CHAT_SERVICE = chat_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name
MODEL_SERVICE = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM contents. With `client_ca` a client must show a certificate that it signed (mTLS)."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_ca,
            require_client_auth=self.client_ca is not None,
        )


class GrpcServer:
    """Serves the contract. Health says SERVING exactly while some model can answer."""

    def __init__(
        self,
        chat: ChatService,
        models: Models,
        authenticator: Authenticator,
        *,
        tls: ServerTls | None = None,
        max_message_bytes: int = 32 * 2**20,
        with_reflection: bool = True,
        write_timeout: float = 60.0,
        shared_port: bool = False,
    ) -> None:
        """With `shared_port` other servers of this user may listen on the same port: the kernel
        gives each of them some of the connections."""
        self._models = models
        self._tls = tls
        self._server = grpc.aio.server(options=_options(max_message_bytes, shared_port))
        self._health = health.aio.HealthServicer()
        self._telling: set[asyncio.Task[None]] = set()
        self._stopping = False
        chat_pb2_grpc.add_ChatServiceServicer_to_server(
            ChatServicer(chat, authenticator, write_timeout), wire(self._server)
        )
        model_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(models, authenticator), wire(self._server)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            names = (CHAT_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str) -> int:
        """Binds and serves; returns the port. Raises OSError if the address cannot be had."""
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as error:
            raise _why_not(address) from error
        self._models.subscribe(self._tell)
        await self._tell_health()
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Says NOT_SERVING, refuses new calls, and gives those in flight `grace` seconds."""
        self._stopping = True
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    def _tell(self) -> None:
        task = asyncio.get_running_loop().create_task(self._tell_health())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_health(self) -> None:
        if self._stopping:
            return
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if self._models.ready else statuses.NOT_SERVING
        for name in ("", CHAT_SERVICE, MODEL_SERVICE):
            await self._health.set(name, status)


def _options(max_message_bytes: int, shared_port: bool) -> list[tuple[str, int]]:
    return [
        # Unasked, two servers on one port would silently share it; the second is to fail.
        ("grpc.so_reuseport", int(shared_port)),
        # Room for images. Messages are read on the event loop, so never without a limit.
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # By default a client that pings more often than every five minutes without data, as
        # it should during a long prefill, is sent away with too_many_pings.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Finds clients that vanished without a word, so that their generations end.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients that balance by DNS look for new servers only when they reconnect. A stream
        # in flight has the grace, which is longer than a generation takes.
        ("grpc.max_connection_age_ms", 10 * 60_000),
        ("grpc.max_connection_age_grace_ms", 60 * 60_000),
        # Bounds what one connection can make us hold; calls beyond wait at the client.
        ("grpc.max_concurrent_streams", 1_000),
    ]


def _why_not(address: str) -> OSError:
    """Why an address cannot be had: grpc says no more than that, and logs the rest in its way."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.create_server((host.strip("[]"), int(port)), family=family):
            pass
    except OSError as error:
        return error
    return OSError(f"gRPC cannot bind {address}")
