"""Another Diglot, over gRPC, and an engine that asks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from engines import one_by_one
from serving import ask

from diglot.burst import Burst
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.entrance import Authenticator, NoKeys
from diglot.service.errors import InvalidKey
from diglot.service.keys import Caller
from diglot.service.models import Models, ServedModel
from diglot.service.peer import Peer, PeerEngine
from diglot.service.scripted import ScriptedEngine
from diglot.service.server import GrpcServer, ServerTls
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.model_pb2 import Model

CALL = Call(request_id="req_test", caller="tester")
LONG = {"tokens": 1000, "interval_ms": 10}


class Recording(ScriptedEngine):
    """The scripted model, with what reached it; or what it fails with."""

    def __init__(self, failure: errors.ChatError | Exception | None = None) -> None:
        super().__init__()
        self.failure = failure
        self.asked: list[tuple[CreateChatCompletionRequest, Call]] = []
        self.came, self.freed = asyncio.Event(), asyncio.Event()

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        self.asked.append((request, call))
        self.came.set()
        if self.failure is not None:
            raise self.failure
        try:
            async with aclosing(super().stream(request, call)) as bursts:
                async for burst in bursts:
                    yield burst
        finally:
            self.freed.set()


class OneKey:
    def authenticate(self, authorization: str | None) -> Caller:
        if authorization == "Bearer sesame":
            return Caller("k1", "us")
        raise InvalidKey("Incorrect API key provided.")


class OtherDiglot:
    def __init__(self, engine: ScriptedEngine, server: GrpcServer, target: str) -> None:
        self.engine = engine
        self.server = server
        self.target = target


@asynccontextmanager
async def other_diglot(
    engine: ScriptedEngine | None = None,
    authenticator: Authenticator | None = None,
    tls: ServerTls | None = None,
    target: str = "127.0.0.1:0",
) -> AsyncIterator[OtherDiglot]:
    engine = engine or ScriptedEngine()
    models = Models([ServedModel(Model(id="theirs"), engine)])
    chat = ChatService(models)
    server = GrpcServer(chat, models, authenticator or NoKeys(), tls=tls, max_message_bytes=2**20)
    port = await server.start(target)
    await models.start()
    try:
        yield OtherDiglot(engine, server, f"127.0.0.1:{port}")
    finally:
        await server.stop(0)
        await models.close()


@asynccontextmanager
async def asking(peer: Peer | str) -> AsyncIterator[PeerEngine]:
    engine = PeerEngine(Peer(peer) if isinstance(peer, str) else peer, "theirs")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def chunks_of(
    engine: PeerEngine, request: CreateChatCompletionRequest | None = None, call: Call = CALL
) -> list[ChatCompletionChunk]:
    bursts = engine.stream(request or ask(model="ours"), call)
    return [chunk async for chunk in one_by_one(bursts)]
