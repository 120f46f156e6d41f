"""The engine that asks another Diglot."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from diglot.burst import Burst
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import Usage

from ..call import Call
from ..capability import EVERYTHING
from ..errors import NotReady, UpstreamUnavailable
from ..readiness import Readiness
from ..status import cancelled_by_us
from ..upstream.name import UpstreamName
from ..upstream.secret import without
from ..upstream.whole import in_one_piece
from .refusal import error_of
from .whole import chunk_of

logger = logging.getLogger("diglot.peer")

# Seconds between two tries to follow the peer's health, so that no fault makes it a frenzy.
_PAUSE = 0.2

_SERVICE_CONFIG = {
    # A target that names several replicas uses them all, and each only while its own health
    # check says that it can answer.
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
}


@dataclass(frozen=True, slots=True)
class Peer:
    """Where another Diglot is."""

    target: str
    """As gRPC has it: host:port, dns:///name:port, unix:/path."""
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)
    """For TLS; None is plain text."""
    api_key: str | None = field(default=None, repr=False)
    connect_timeout: float = 5
    """Seconds."""
    max_message_bytes: int = 32 * 2**20
    whole: bool = False
    """Whether unary calls are asked for in one piece, and not as streams."""


class PeerEngine:
    """Streams from another Diglot, which speaks the contract: requests and chunks pass whole.
    Unary calls too are asked for as streams, but where UpstreamEngine would not do so either.

    `model` is the peer's name for the model. Ready is what the peer's own health service says.
    What the peer refuses, it refuses in our own errors.
    """

    capabilities = EVERYTHING

    def __init__(self, peer: Peer, model: str | UpstreamName) -> None:
        self.readiness = Readiness()
        self._peer = peer
        self._model = UpstreamName(model) if isinstance(model, str) else model
        self._channel: grpc.aio.Channel | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._channel = _channel(self._peer)
        self._watching = asyncio.create_task(self._watch(self._channel))

    async def close(self) -> None:
        self.readiness.down("closed")
        if self._channel is not None and self._watching is not None:
            channel, self._channel = self._channel, None
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            await channel.close()

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        if self._channel is None:
            raise NotReady("The server is not started.")
        return self._ask(self._channel, request, call)

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        """Follows the peer's health: of any of its replicas, if there are several."""
        target = self._peer.target
        lost = f"{target} cannot be reached, or is not ready"
        loop = asyncio.get_running_loop()
        while True:
            self.readiness.down(lost)
            warning = loop.call_later(self._peer.connect_timeout, logger.warning, lost)
            # Waits until there is a replica that says SERVING: the channel sends it to no other.
            health = HealthStub(channel).Watch(HealthCheckRequest(), wait_for_ready=True)
            try:
                async for answer in health:
                    if answer.status != HealthCheckResponse.SERVING:
                        break
                    warning.cancel()
                    logger.info("%s is ready", target)
                    self.readiness.up()
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self.readiness.up()  # a proxy between that knows no health
                    return
            finally:
                warning.cancel()
                health.cancel()
            await asyncio.sleep(_PAUSE)

    async def _ask(
        self, channel: grpc.aio.Channel, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        metadata = [("x-request-id", call.request_id), *call.trace]
        if self._peer.api_key is not None:
            metadata.append(("authorization", f"Bearer {self._peer.api_key}"))
        timeout = None
        if call.deadline is not None:
            timeout = max(call.deadline - asyncio.get_running_loop().time(), 0)
        whole = in_one_piece(request, call, always=self._peer.whole)
        stub = ChatServiceStub(channel)
        answer = (stub.CreateChatCompletion if whole else stub.StreamChatCompletion)(
            _for_peer(request, self._model.of(request.model), streamed=not whole),
            metadata=tuple(metadata),
            timeout=timeout,
        )
        delivered = Usage()
        call.meter.follow(lambda: delivered if delivered.completion_tokens else None)
        try:
            if isinstance(answer, grpc.aio.UnaryUnaryCall):
                yield (chunk_of(await answer),)
                return
            async for chunk in answer:
                if _says_something(chunk):
                    delivered.completion_tokens += chunk.merged_chunks or 1
                chunk.ClearField("merged_chunks")
                yield (chunk,)
        except grpc.aio.AioRpcError as error:
            raise without(self._peer.api_key, error_of(error, request.model)) from None
        except asyncio.CancelledError:
            # So a channel that is closed ends its calls.
            if not cancelled_by_us():
                raise
            raise UpstreamUnavailable("The upstream broke off.", retry_after=1) from None
        finally:
            answer.cancel()


def _says_something(chunk: ChatCompletionChunk) -> bool:
    if not chunk.choices:
        return False
    delta = chunk.choices[0].delta
    return not delta.role and delta.ByteSize() > 0


def _channel(peer: Peer) -> grpc.aio.Channel:
    options = [
        # A peer that vanished without a word is noticed within a minute also while a long
        # prompt is read in silence.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # In spite of its name, how long connecting may take.
        ("grpc.min_reconnect_backoff_ms", round(peer.connect_timeout * 1000)),
        ("grpc.max_reconnect_backoff_ms", 10_000),  # else two minutes
        ("grpc.max_send_message_length", peer.max_message_bytes),
        ("grpc.max_receive_message_length", peer.max_message_bytes),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ]
    if peer.credentials is None:
        return grpc.aio.insecure_channel(peer.target, options=options)
    return grpc.aio.secure_channel(peer.target, peer.credentials, options=options)


def _for_peer(
    request: CreateChatCompletionRequest, model: str, *, streamed: bool
) -> CreateChatCompletionRequest:
    """The request under the peer's name. What is stored, and padded, is what we answer."""
    asked = CreateChatCompletionRequest()
    asked.CopyFrom(request)
    asked.model = model
    if asked.store:
        asked.ClearField("store")
        asked.ClearField("metadata")
    asked.ClearField("stream_options")
    if streamed:
        asked.stream_options.include_usage = True
    return asked
