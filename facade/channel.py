"""What the façade needs of a connection to the service.

The methods are those of the generated stubs, so a call reads the same whichever kind of
channel carries it. Every method reports failure as grpc.aio.AioRpcError, with the details
of google.rpc.Status in its trailing metadata; and cancelling the task that awaits a call
cancels the call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Protocol, TypeAlias

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

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
from diglot.v1.completion_pb2 import ChatCompletion
from diglot.v1.model_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model

Metadata: TypeAlias = Sequence[tuple[str, str]]
"""Lower-case keys, values of printable ASCII."""


class StreamCall(Protocol):
    """A streamed completion under way."""

    def __aiter__(self) -> AsyncIterator[Burst]:
        """Its chunks, once, as they come. Raises AioRpcError where the stream fails."""

    def cancel(self) -> bool:
        """Frees the model at once. Harmless on a call that has ended."""


class Channel(Protocol):
    """A connection to a Diglot service, near or far."""

    def CreateChatCompletion(
        self, request: CreateChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ChatCompletion]: ...

    def StreamChatCompletion(
        self, request: CreateChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> StreamCall: ...

    def GetChatCompletion(
        self, request: GetChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ChatCompletion]: ...

    def ListChatCompletions(
        self, request: ListChatCompletionsRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ListChatCompletionsResponse]: ...

    def UpdateChatCompletion(
        self, request: UpdateChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ChatCompletion]: ...

    def DeleteChatCompletion(
        self, request: DeleteChatCompletionRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[DeleteChatCompletionResponse]: ...

    def ListChatCompletionMessages(
        self, request: ListChatCompletionMessagesRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ListChatCompletionMessagesResponse]: ...

    def ListModels(
        self, request: ListModelsRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ListModelsResponse]: ...

    def GetModel(
        self, request: GetModelRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[Model]: ...

    def Check(
        self, request: HealthCheckRequest, *, timeout: float, metadata: Metadata
    ) -> Awaitable[HealthCheckResponse]:
        """grpc.health.v1.Health/Check."""
