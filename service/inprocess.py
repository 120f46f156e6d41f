"""The same calls without a socket: the channel of the all-in-one process.

A loopback hop costs a streamed chunk several times what everything else costs it. So where
the façade lives in the service's process, it calls the core through this channel: the
methods of a real one, the same authentication, the same errors (grpc.aio.AioRpcError with
the same details), the same cancellation. Messages are handed over, not copied: who receives
one owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from grpc.aio import AioRpcError
from grpc_health.v1 import health_pb2

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

from .call import Call
from .chat import ChatService
from .entrance import Authenticator, admit, request_id_of
from .models import Models
from .status import as_chat_error, as_lost, cancelled_by_us, to_rpc_error

Metadata = Sequence[tuple[str, str]]


class InProcessChannel:
    """What the façade needs of a channel, over the core itself."""

    def __init__(self, chat: ChatService, models: Models, authenticator: Authenticator) -> None:
        self._chat = chat
        self._models = models
        self._authenticator = authenticator

    async def CreateChatCompletion(
        self,
        request: CreateChatCompletionRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletion:
        with self._answering(metadata, timeout) as call:
            return await self._chat.create(request, call)

    def StreamChatCompletion(
        self,
        request: CreateChatCompletionRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> InProcessStream:
        return InProcessStream(self._chat, request, self._answering(metadata, timeout))

    async def GetChatCompletion(
        self,
        request: GetChatCompletionRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletion:
        with self._answering(metadata, timeout) as call:
            return await self._chat.stored.get(request, call)

    async def ListChatCompletions(
        self,
        request: ListChatCompletionsRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ListChatCompletionsResponse:
        with self._answering(metadata, timeout) as call:
            return await self._chat.stored.list(request, call)

    async def UpdateChatCompletion(
        self,
        request: UpdateChatCompletionRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletion:
        with self._answering(metadata, timeout) as call:
            return await self._chat.stored.update(request, call)

    async def DeleteChatCompletion(
        self,
        request: DeleteChatCompletionRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> DeleteChatCompletionResponse:
        with self._answering(metadata, timeout) as call:
            return await self._chat.stored.delete(request, call)

    async def ListChatCompletionMessages(
        self,
        request: ListChatCompletionMessagesRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ListChatCompletionMessagesResponse:
        with self._answering(metadata, timeout) as call:
            return await self._chat.stored.messages(request, call)

    async def ListModels(
        self,
        request: ListModelsRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ListModelsResponse:
        with self._answering(metadata, timeout) as call:
            return ListModelsResponse(models=self._models.all(call.models))

    async def GetModel(
        self, request: GetModelRequest, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Model:
        with self._answering(metadata, timeout) as call:
            return self._models.resolve(request.id, call.models).model

    async def Check(
        self,
        request: health_pb2.HealthCheckRequest,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> health_pb2.HealthCheckResponse:
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if self._models.ready else status.NOT_SERVING)

    async def close(self) -> None:
        """Nothing to close: the core is its owner's."""

    def _answering(self, metadata: Metadata, timeout: float | None) -> _Answering:
        return _Answering(metadata, timeout, self._authenticator)


class _Answering:
    """Admits a call, and makes whatever its body raises what a stub would raise.

    A class, as @contextmanager costs three times as much.
    """

    __slots__ = ("_authenticator", "_metadata", "_request_id", "_timeout")

    def __init__(
        self, metadata: Metadata, timeout: float | None, authenticator: Authenticator
    ) -> None:
        self._metadata = metadata
        self._timeout = timeout
        self._authenticator = authenticator
        self._request_id = request_id_of(metadata)

    def __enter__(self) -> Call:
        try:
            return admit(self._metadata, self._timeout, self._request_id, self._authenticator)
        except Exception as error:
            raise self._told(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, Exception):
            raise self._told(error) from None
        if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
            raise to_rpc_error(as_lost(self._request_id), self._request_id) from None

    def _told(self, error: Exception) -> AioRpcError:
        return to_rpc_error(as_chat_error(error, self._request_id), self._request_id)


class InProcessStream:
    """A stream under way: iterate once, and cancel when done with it before its end."""

    def __init__(
        self,
        chat: ChatService,
        request: CreateChatCompletionRequest,
        answering: _Answering,
    ) -> None:
        self._finished = False
        self._bursts = self._run(chat, request, answering)
        self._closing: asyncio.Task[None] | None = None

    async def _run(
        self,
        chat: ChatService,
        request: CreateChatCompletionRequest,
        answering: _Answering,
    ) -> AsyncGenerator[Burst, None]:
        try:
            with answering as call:
                async with aclosing(chat.stream(request, call)) as bursts:
                    async for burst in bursts:
                        yield burst
        finally:
            self._finished = True

    def __aiter__(self) -> AsyncIterator[Burst]:
        return self._bursts

    def cancel(self) -> bool:
        """Ends the generation, as a call's `cancel` does. True if there was one to end.

        Not for use while a burst is awaited: cancelling that wait ends the generation too.
        """
        if self._finished or self._closing is not None:
            return False
        self._closing = asyncio.get_running_loop().create_task(self._bursts.aclose())
        return True
