"""What the façade's channel to a service sends again, and what it must not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from engines import FakeEngine
from serving import ask

from diglot.burst import chunks_of
from diglot.facade import RemoteChannel
from diglot.service import errors
from diglot.service.chat import ChatService
from diglot.service.entrance import NoKeys
from diglot.service.models import Models, ServedModel
from diglot.service.server import GrpcServer
from diglot.service.store import CompletionStore, SqliteFile
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.model_pb2 import Model


@asynccontextmanager
async def channel_to(engine: FakeEngine, database: Path) -> AsyncIterator[RemoteChannel]:
    models = Models([ServedModel(Model(id="m"), engine)])
    store = CompletionStore(SqliteFile(database))
    store.start()
    server = GrpcServer(ChatService(models, store), models, NoKeys())
    port = await server.start("127.0.0.1:0")
    channel = RemoteChannel(f"127.0.0.1:{port}")
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(0)
        await store.close()


async def asked(channel: RemoteChannel, request: CreateChatCompletionRequest, way: str) -> str:
    if way == "unary":
        answer = await channel.CreateChatCompletion(request, timeout=20, metadata=())
        return answer.choices[0].message.content
    bursts = channel.StreamChatCompletion(request, timeout=20, metadata=())
    chunks = [chunk async for burst in bursts for chunk in chunks_of(burst)]
    return "".join(chunk.choices[0].delta.content for chunk in chunks)


@pytest.mark.parametrize("way", ["unary", "stream"])
@pytest.mark.parametrize("words", [("one",), ("one", "two")])
async def test_what_cannot_be_stored_is_generated_once(
    tmp_path: Path, way: str, words: tuple[str, ...]
) -> None:
    engine = FakeEngine(*words)
    async with channel_to(engine, tmp_path) as channel:  # a directory is no database
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked(channel, ask(model="m", store=True), way)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "stored completions" in (caught.value.details() or "")
    assert engine.asked == 1


@pytest.mark.parametrize("way", ["unary", "stream"])
async def test_an_answer_that_breaks_off_is_not_begun_again(tmp_path: Path, way: str) -> None:
    engine = FakeEngine("half", errors.EngineLost("Lost."))
    async with channel_to(engine, tmp_path / "db") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked(channel, ask(model="m"), way)
    assert caught.value.details() == "Lost."
    assert engine.asked == 1


@pytest.mark.parametrize("way", ["unary", "stream"])
async def test_what_had_not_begun_is_sent_again(tmp_path: Path, way: str) -> None:
    engine = FakeEngine("whole")
    engine.then = [(errors.EngineLost("Lost."),), (errors.NotReady("Not yet."),)]
    async with channel_to(engine, tmp_path / "db") as channel:
        assert await asked(channel, ask(model="m"), way) == "whole"
    assert engine.asked == 3
