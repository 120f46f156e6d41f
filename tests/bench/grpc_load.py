"""The gRPC client: what an internal service in Python would use, the generated stubs."""

from __future__ import annotations

import grpc

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub

from .load import Tally


class GrpcClient:
    """`address` is HOST:PORT. All calls share one channel, as they should."""

    def __init__(
        self, address: str, key: str, request: CreateChatCompletionRequest, *, stream: bool
    ) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = ChatServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._request = request
        self._stream = stream

    async def ask(self, tally: Tally) -> None:
        if self._stream:
            async for _ in self._stub.StreamChatCompletion(self._request, metadata=self._metadata):
                tally.chunks += 1
        else:
            await self._stub.CreateChatCompletion(self._request, metadata=self._metadata)

    async def close(self) -> None:
        await self._channel.close()
