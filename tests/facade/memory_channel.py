"""A channel without a service, for what needs no answer of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc_health.v1 import health_pb2

from diglot.burst import Burst
from diglot.v1 import (
    chat_pb2,
    chunk_pb2,
)
from diglot.v1 import model_pb2 as models

from .fake import chunk, completion, first, last


class MemoryChannel:
    """A channel without a service: answers with what it was given."""

    def __init__(self, chunks: list[chunk_pb2.ChatCompletionChunk] | None = None) -> None:
        self._chunks = chunks or [first(), chunk("hi"), last()]

    async def CreateChatCompletion(self, request: Any, **call: Any) -> Any:
        request.SerializeToString()
        return completion()

    def StreamChatCompletion(self, request: Any, **call: Any) -> Any:
        return MemoryStream(self._chunks)

    async def ListModels(self, request: Any, **call: Any) -> Any:
        return models.ListModelsResponse()

    async def GetModel(self, request: Any, **call: Any) -> Any:
        return models.Model(id=request.id)

    async def GetChatCompletion(self, request: Any, **call: Any) -> Any:
        return completion()

    async def ListChatCompletions(self, request: Any, **call: Any) -> Any:
        return chat_pb2.ListChatCompletionsResponse()

    async def UpdateChatCompletion(self, request: Any, **call: Any) -> Any:
        return completion(metadata=request.metadata)

    async def DeleteChatCompletion(self, request: Any, **call: Any) -> Any:
        return chat_pb2.DeleteChatCompletionResponse(id=request.id)

    async def ListChatCompletionMessages(self, request: Any, **call: Any) -> Any:
        return chat_pb2.ListChatCompletionMessagesResponse()

    async def Check(self, request: Any, **call: Any) -> Any:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None: ...


class MemoryStream:
    """Chunks that are all there at once."""

    def __init__(self, chunks: list[chunk_pb2.ChatCompletionChunk]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[Burst]:
        yield self._chunks

    def cancel(self) -> bool:
        return False
