"""The contract's services over gRPC: thin adapters that carry calls to the core."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import monotonic
from typing import Any, NoReturn

import grpc

from diglot.v1 import chat_pb2, chat_pb2_grpc, model_pb2, model_pb2_grpc
from diglot.v1.completion_pb2 import ChatCompletion

from .call import Call
from .chat import ChatService
from .entrance import Authenticator, admit, request_id_of
from .errors import ChatError, DeadlineExceeded
from .merging import merged
from .models import Models
from .reading import Reading
from .status import as_chat_error, as_lost, cancelled_by_us, to_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class Answering:
    """Admits a call, and turns whatever its body raises into the call's status.

    The only place that aborts: `context.abort` raises, and a second abort would hide the first.
    """

    __slots__ = ("_authenticator", "_context", "_request_id")

    def __init__(self, context: Context, authenticator: Authenticator) -> None:
        self._context = context
        self._authenticator = authenticator
        self._request_id = ""

    async def __aenter__(self) -> Call:
        context = self._context
        metadata = context.invocation_metadata() or ()
        self._request_id = request_id_of(metadata)
        context.set_trailing_metadata((("x-request-id", self._request_id),))
        try:
            return admit(metadata, context.time_remaining(), self._request_id, self._authenticator)
        except Exception as error:
            await self._abort(as_chat_error(error, self._request_id))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, Exception):
            await self._abort(as_chat_error(error, self._request_id))
        # The caller's own must go on: swallowing it leaks the call (grpc/grpc#43360).
        if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
            await self._abort(as_lost(self._request_id))

    async def _abort(self, error: ChatError) -> NoReturn:
        # gRPC ends the call itself, for the caller as well. A status that comes too late fails,
        # and gRPC never frees what it was made of (grpc/grpc#43360).
        if isinstance(error, DeadlineExceeded) and self._context.time_remaining() == 0:
            raise asyncio.CancelledError
        await self._context.abort(*to_grpc(error, self._request_id))


class ChatServicer(chat_pb2_grpc.ChatServiceServicer):
    """Coroutines that write, not generators that yield: when a client goes away while it
    reads slowly, a handler's generator is left to the garbage collector, and closes late and
    in another task (grpc/grpc#42295)."""

    def __init__(
        self, chat: ChatService, authenticator: Authenticator, write_timeout: float = 60.0
    ) -> None:
        """`write_timeout` is how many seconds a client may leave a stream unread."""
        self._chat = chat
        self._authenticator = authenticator
        self._write_timeout = write_timeout

    async def CreateChatCompletion(
        self, request: chat_pb2.CreateChatCompletionRequest, context: Context
    ) -> ChatCompletion:
        async with Answering(context, self._authenticator) as call:
            return await self._chat.create(request, call)

    async def StreamChatCompletion(  # type: ignore[override]  # typed as a generator; see above
        self, request: chat_pb2.CreateChatCompletionRequest, context: Context
    ) -> None:
        async with Answering(context, self._authenticator) as call:
            with Reading(self._write_timeout) as reading:
                async with aclosing(self._chat.stream(request, call)) as bursts:
                    async for burst in bursts:
                        for chunk in merged(burst):
                            reading.waits_since = monotonic()
                            await context.write(chunk)
                            reading.waits_since = 0.0

    async def GetChatCompletion(
        self, request: chat_pb2.GetChatCompletionRequest, context: Context
    ) -> ChatCompletion:
        async with Answering(context, self._authenticator) as call:
            return await self._chat.stored.get(request, call)

    async def ListChatCompletions(
        self, request: chat_pb2.ListChatCompletionsRequest, context: Context
    ) -> chat_pb2.ListChatCompletionsResponse:
        async with Answering(context, self._authenticator) as call:
            return await self._chat.stored.list(request, call)

    async def UpdateChatCompletion(
        self, request: chat_pb2.UpdateChatCompletionRequest, context: Context
    ) -> ChatCompletion:
        async with Answering(context, self._authenticator) as call:
            return await self._chat.stored.update(request, call)

    async def DeleteChatCompletion(
        self, request: chat_pb2.DeleteChatCompletionRequest, context: Context
    ) -> chat_pb2.DeleteChatCompletionResponse:
        async with Answering(context, self._authenticator) as call:
            return await self._chat.stored.delete(request, call)

    async def ListChatCompletionMessages(
        self, request: chat_pb2.ListChatCompletionMessagesRequest, context: Context
    ) -> chat_pb2.ListChatCompletionMessagesResponse:
        async with Answering(context, self._authenticator) as call:
            return await self._chat.stored.messages(request, call)


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models, authenticator: Authenticator) -> None:
        self._models = models
        self._authenticator = authenticator

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Context
    ) -> model_pb2.ListModelsResponse:
        async with Answering(context, self._authenticator) as call:
            return model_pb2.ListModelsResponse(models=self._models.all(call.models))

    async def GetModel(
        self, request: model_pb2.GetModelRequest, context: Context
    ) -> model_pb2.Model:
        async with Answering(context, self._authenticator) as call:
            return self._models.resolve(request.id, call.models).model
