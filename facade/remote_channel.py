"""The channel to a service in another process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, cast

import grpc
import grpc.aio
from grpc.aio import UnaryStreamCall
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from diglot.burst import Burst
from diglot.v1.chat_pb2 import (
    CreateChatCompletionRequest,
    DeleteChatCompletionRequest,
    DeleteChatCompletionResponse,
    GetChatCompletionRequest,
    ListChatCompletionMessagesRequest,
    ListChatCompletionMessagesResponse,
    ListChatCompletionsRequest,
    ListChatCompletionsResponse,
    UpdateChatCompletionRequest,
)
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import ChatCompletion
from diglot.v1.model_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from diglot.v1.model_pb2_grpc import ModelServiceStub

from .channel import Metadata, StreamCall

_SERVICE_CONFIG = {
    # Spreads calls, not connections: a target that names several replicas
    # ("dns:///diglot:50051" of a headless service) uses them all.
    "loadBalancingConfig": [{"round_robin": {}}],
    # Calls go only to replicas whose own health check says that they can answer.
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": "diglot.v1.ChatService"}, {"service": "diglot.v1.ModelService"}],
            # UNAVAILABLE is what a full or stopping replica says before it has begun to
            # answer, and what is left of one that died; the next replica may have room.
            # CANCELLED is what gRPC makes of calls that reach a server while it stops (who
            # cancels a call himself does not hear of it). After the first chunk nothing is
            # repeated, and of a unary call nothing that a service has worked for: it says so
            # with grpc-retry-pushback-ms.
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # Where most calls fail, repeating them makes it worse: stop at half. The most that gRPC
    # allows, because a replica that dies fails all its calls at once: up to 500 go elsewhere.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 1},
}

_OPTIONS: list[tuple[str, int | str]] = [
    # A service that vanished without a word is noticed within a minute also while a long
    # prefill sends nothing.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Images travel inside messages; the default is 4 MiB.
    ("grpc.max_send_message_length", 32 * 2**20),
    ("grpc.max_receive_message_length", 32 * 2**20),
    # What is longer than this, by default 256 KiB, is not repeated elsewhere.
    ("grpc.per_rpc_retry_buffer_size", 33 * 2**20),
    # A replica that comes back has its share again within seconds; by default it could take two
    # minutes.
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
]


class RemoteStream:
    """A stream under way: each message is a burst, merged by the service if there is much."""

    def __init__(self, call: UnaryStreamCall[Any, ChatCompletionChunk]) -> None:
        self._call = call

    async def __aiter__(self) -> AsyncIterator[Burst]:
        async for chunk in self._call:
            yield (chunk,)

    def cancel(self) -> bool:
        return self._call.cancel()


class RemoteChannel:
    """A Channel over one grpc.aio channel, which reconnects by itself."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, int | str]] = (),
    ) -> None:
        """Connects at the first call. `options` come after ours, and win."""
        chosen = list({**dict(_OPTIONS), **dict(options)}.items())
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=chosen)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=chosen)
        self._chat = ChatServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._health = HealthStub(self._channel)

    def CreateChatCompletion(
        self, request: CreateChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ChatCompletion]:
        return self._chat.CreateChatCompletion(request, timeout=timeout, metadata=tuple(metadata))

    def StreamChatCompletion(
        self, request: CreateChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> StreamCall:
        return RemoteStream(
            self._chat.StreamChatCompletion(request, timeout=timeout, metadata=tuple(metadata))
        )

    def GetChatCompletion(
        self, request: GetChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ChatCompletion]:
        return self._chat.GetChatCompletion(request, timeout=timeout, metadata=tuple(metadata))

    def ListChatCompletions(
        self, request: ListChatCompletionsRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ListChatCompletionsResponse]:
        return self._chat.ListChatCompletions(request, timeout=timeout, metadata=tuple(metadata))

    def UpdateChatCompletion(
        self, request: UpdateChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ChatCompletion]:
        return self._chat.UpdateChatCompletion(request, timeout=timeout, metadata=tuple(metadata))

    def DeleteChatCompletion(
        self, request: DeleteChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[DeleteChatCompletionResponse]:
        return self._chat.DeleteChatCompletion(request, timeout=timeout, metadata=tuple(metadata))

    def ListChatCompletionMessages(
        self, request: ListChatCompletionMessagesRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ListChatCompletionMessagesResponse]:
        return self._chat.ListChatCompletionMessages(
            request, timeout=timeout, metadata=tuple(metadata)
        )

    def ListModels(
        self, request: ListModelsRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ListModelsResponse]:
        return self._models.ListModels(request, timeout=timeout, metadata=tuple(metadata))

    def GetModel(
        self, request: GetModelRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[Model]:
        return self._models.GetModel(request, timeout=timeout, metadata=tuple(metadata))

    def Check(
        self, request: HealthCheckRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[HealthCheckResponse]:
        call = self._health.Check(request, timeout=timeout, metadata=tuple(metadata))
        return cast(Awaitable[HealthCheckResponse], call)

    async def close(self) -> None:
        """Ends the calls under way, too."""
        await self._channel.close()
