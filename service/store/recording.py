"""Keeps an answer while it passes by."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..call import Call
from ..errors import ChatError
from ..fold import Fold
from .store import CompletionStore


async def recorded(
    chunks: AsyncGenerator[ChatCompletionChunk, None],
    request: CreateChatCompletionRequest,
    call: Call,
    store: CompletionStore,
) -> AsyncGenerator[ChatCompletionChunk, None]:
    """The same chunks, each at once but the end: that waits until the completion is stored.

    So storing delays no token, and who has seen an answer end will find it. A completion that
    fails or is abandoned is not stored; one that cannot be stored fails, with StoreUnavailable.
    """
    whole = Fold()
    growing = request.n or 1
    end: list[ChatCompletionChunk] = []
    async with aclosing(chunks):
        async for chunk in chunks:
            whole.add(chunk)
            growing -= sum(choice.HasField("finish_reason") for choice in chunk.choices)
            if growing > 0:
                yield chunk
            else:
                end.append(chunk)
    completion = whole.completion()
    completion.metadata.update(request.metadata)
    try:
        await store.add(call.caller, request, completion)
    except ChatError as error:
        error.worked = True
        raise
    for chunk in end:
        yield chunk
