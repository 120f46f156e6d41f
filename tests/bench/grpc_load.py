"""The gRPC client: what an internal service in Python would use, the generated stubs."""

from __future__ import annotations

import grpc

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub

from .load import Tally


class GrpcClient:
    """`address` is HOST:PORT. All calls share one connection, as they should.

    `apart` gives it one that it does not share with other clients of that address.
    """

    def __init__(
        self,
        address: str,
        key: str,
        request: CreateChatCompletionRequest,
        *,
        stream: bool,
        apart: bool = False,
    ) -> None:
        options = (("grpc.use_local_subchannel_pool", int(apart)),)
        self._channel = grpc.aio.insecure_channel(address, options)
        self._stub = ChatServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._request = request
        self._stream = stream

    async def ask(self, tally: Tally, due: float) -> None:
        if self._stream:
            last, first = due, True
            call = self._stub.StreamChatCompletion(self._request, metadata=self._metadata)
            async for chunk in call:
                last = tally.arrived(chunk.merged_chunks or 1, last, first=first)
                first = False
        else:
            await self._stub.CreateChatCompletion(self._request, metadata=self._metadata)

    async def close(self) -> None:
        await self._channel.close()
