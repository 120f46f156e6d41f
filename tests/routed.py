"""A model that runs in several places, and a request that prefers the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from engines import CALL, FakeEngine, one_by_one
from serving import ask

from diglot.service import errors
from diglot.service.admission import Admission
from diglot.service.routing import Deployment, Group, RoutedEngine, Timeouts
from diglot.service.routing.affinity import Conversation
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

DOWN = errors.UpstreamUnavailable("It cannot be reached.")


def group(
    *engines: FakeEngine,
    name: str = "asked",
    timeouts: Timeouts | None = None,
    admission: Admission | None = None,
) -> Group:
    deployments = [
        Deployment(f"d{number}", engine, timeouts=timeouts or Timeouts())
        for number, engine in enumerate(engines)
    ]
    return Group(name, deployments, admission=admission)


def in_order(engines: Sequence[FakeEngine]) -> CreateChatCompletionRequest:
    """A request that prefers the first."""
    return in_order_of(group(*engines))


def in_order_of(group: Group) -> CreateChatCompletionRequest:
    for number in range(1000):
        request = ask(prompt_cache_key=str(number))
        if Conversation(request).place(group.deployments) is group.deployments[0]:
            return request
    raise AssertionError


async def text_of(engine: RoutedEngine, request: CreateChatCompletionRequest) -> str:
    async with aclosing(one_by_one(engine.stream(request, CALL))) as chunks:
        return "".join([said(chunk) async for chunk in chunks])


def said(chunk: ChatCompletionChunk) -> str:
    return chunk.choices[0].delta.content
