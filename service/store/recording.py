"""Keeps an answer while it passes by."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from diglot.burst import Burst, TextRun
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..call import Call
from ..errors import ChatError
from ..fold import Fold
from .store import CompletionStore


async def recorded(
    bursts: AsyncGenerator[Burst, None],
    request: CreateChatCompletionRequest,
    call: Call,
    store: CompletionStore,
    told: Callable[[bool], None] = lambda well: None,
) -> AsyncGenerator[Burst, None]:
    """The same chunks, at once but for the end: that waits until the completion is stored.

    So storing delays no token, and who has seen an answer end will find it. A completion that
    fails or is abandoned is not stored; one that cannot be stored fails, with StoreUnavailable.
    `told` hears whether it could be.
    """
    whole = Fold()
    growing = request.n or 1
    end: list[ChatCompletionChunk | TextRun] = []
    async with aclosing(bursts):
        async for burst in bursts:
            whole.add(burst)
            begun = len(end)
            for said in burst:
                if type(said) is not TextRun:
                    growing -= sum(choice.HasField("finish_reason") for choice in said.choices)
                if growing <= 0:
                    end.append(said)
            if at_once := burst[: len(burst) - len(end) + begun]:
                yield at_once
    completion = whole.completion()
    completion.metadata.update(request.metadata)
    try:
        await store.add(call.caller, request, completion)
    except ChatError as error:
        told(False)
        error.worked = True
        raise
    told(True)
    if end:
        yield end
