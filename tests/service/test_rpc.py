"""Calls as they come in, over a real socket and without one: the same answers, the same errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from engines import each
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from serving import ScriptedChat, ask, scripted_service

from diglot.service.entrance import Authenticator, NoKeys
from diglot.service.errors import DeadlineExceeded, InvalidKey, UpstreamRefused
from diglot.service.inprocess import InProcessChannel
from diglot.service.keys import Caller
from diglot.service.server import GrpcServer
from diglot.service.servicer import Answering
from diglot.v1 import chat_pb2, chat_pb2_grpc, model_pb2, model_pb2_grpc
from diglot.v1.chunk_pb2 import ChatCompletionChunk


class OneKey:
    def authenticate(self, authorization: str | None) -> Caller:
        if authorization != "Bearer good":
            raise InvalidKey("That key is not known here.")
        return Caller("k1", "test")


class Stubs:
    """The stubs of a real channel, under the names that the in-process one has."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        chat = chat_pb2_grpc.ChatServiceStub(channel)
        models = model_pb2_grpc.ModelServiceStub(channel)
        self.CreateChatCompletion = chat.CreateChatCompletion
        self.StreamChatCompletion = chat.StreamChatCompletion
        self.GetChatCompletion = chat.GetChatCompletion
        self.ListModels = models.ListModels
        self.GetModel = models.GetModel
        self.Check = health_pb2_grpc.HealthStub(channel).Check


@asynccontextmanager
async def serving(
    kind: str, authenticator: Authenticator | None = None
) -> AsyncIterator[tuple[Any, ScriptedChat]]:
    authenticator = authenticator or NoKeys()
    async with scripted_service() as chat:
        if kind == "in-process":
            yield InProcessChannel(chat, chat.models, authenticator), chat
            return
        server = GrpcServer(chat, chat.models, authenticator)
        port = await server.start("127.0.0.1:0")
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Stubs(channel), chat
        finally:
            await server.stop(0)


both = pytest.mark.parametrize("kind", ["in-process", "grpc"])


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    status = rpc_status.from_call(error)
    assert status is not None
    assert status.message == error.details()
    assert status.code == error.code().value[0]
    found: dict[str, Any] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        found[name] = getattr(error_details_pb2, name)()
        packed.Unpack(found[name])
    return found


@both
async def test_a_completion_whole_and_streamed(kind: str) -> None:
    async with serving(kind) as (channel, _):
        whole = await channel.CreateChatCompletion(ask("a b c"))
        stream = channel.StreamChatCompletion(ask("a b c"))
        chunks = [chunk async for said in stream for chunk in each(said)]
    assert whole.choices[0].message.content == "a b c"
    texts = [chunk.choices[0].delta.content for chunk in chunks]
    assert "".join(texts) == "a b c"
    assert sum(chunk.merged_chunks or 1 for chunk in chunks) == 5


@both
@pytest.mark.parametrize("rpc", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_a_refusal_names_the_field(kind: str, rpc: str) -> None:
    async with serving(kind) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _whole(getattr(channel, rpc)(ask(temperature=3)))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    found = details(caught.value)
    assert found["ErrorInfo"].reason == "INVALID_VALUE"
    assert found["ErrorInfo"].domain == "diglot"
    assert found["BadRequest"].field_violations[0].field == "temperature"
    assert found["RequestInfo"].request_id.startswith("req_")


@both
async def test_a_failure_after_the_first_chunk_ends_the_stream_with_its_status(kind: str) -> None:
    script = {"content": "a b c", "fail": "ENGINE_LOST", "fail_after": 1}
    async with serving(kind) as (channel, _):
        chunks: list[ChatCompletionChunk] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _hear(channel.StreamChatCompletion(ask(script=script)), chunks)
    first, second = chunks
    assert first.choices[0].delta.role
    assert second.choices[0].delta.content == "a"
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    found = details(caught.value)
    assert found["ErrorInfo"].reason == "ENGINE_LOST"
    assert found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 1


@both
async def test_a_bug_tells_its_caller_nothing_but_the_request_id(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(kind) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.CreateChatCompletion(
                ask(script={"fail": "BUG"}), metadata=(("x-request-id", "my-call"),)
            )
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "scripted" not in str(caught.value)
    assert "scripted bug" in caplog.text
    assert details(caught.value)["RequestInfo"].request_id == "my-call"
    assert ("x-request-id", "my-call") in tuple(caught.value.trailing_metadata())


@both
async def test_an_error_that_is_too_long_for_the_trailers_is_cut(kind: str) -> None:
    async with serving(kind) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.CreateChatCompletion(ask(model="ü" * 100_000))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@both
@pytest.mark.parametrize("character", ["a", "ж", "中", "😀", "\ud800"])
async def test_it_is_cut_by_what_it_takes_there(
    kind: str, character: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but ASCII goes out as it is. A lone surrogate cannot go out at all."""
    upstreams = dict.fromkeys(("http_status", "type", "code"), character * 200)

    async def refused(self: object, request: object, call: object) -> None:
        raise UpstreamRefused(character * 5000, field=character * 5000, details=upstreams)

    monkeypatch.setattr(ScriptedChat, "create", refused)
    async with serving(kind) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.CreateChatCompletion(ask(), timeout=5)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details(caught.value)["ErrorInfo"].reason == "UPSTREAM_REFUSED"
    shown = caught.value.details() or ""
    assert shown == ("?" if character == "\ud800" else character) * (len(shown) - 1) + "…"
    trailers = caught.value.trailing_metadata()
    packed = next(value for key, value in trailers if key == "grpc-status-details-bin")
    assert len(shown.encode()) * 3 + len(packed) * 4 // 3 < 2**13


@both
@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer bad"),)])
async def test_no_key_no_answer(kind: str, metadata: tuple[tuple[str, str], ...]) -> None:
    """Except health. Also a request that is wrong in itself tells nothing but that."""
    async with serving(kind, OneKey()) as (channel, chat):
        calls = [
            channel.CreateChatCompletion(ask(temperature=9), metadata=metadata),
            channel.StreamChatCompletion(ask(), metadata=metadata),
            channel.ListModels(model_pb2.ListModelsRequest(), metadata=metadata),
            channel.GetModel(model_pb2.GetModelRequest(id="scripted"), metadata=metadata),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _whole(call)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert details(caught.value)["ErrorInfo"].reason == "INVALID_API_KEY"
        health = await channel.Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        good = (("authorization", "Bearer good"),)
        assert (await channel.CreateChatCompletion(ask(), metadata=good)).id
        assert chat.engine.active == 0


@both
async def test_models(kind: str) -> None:
    async with serving(kind) as (channel, _):
        listed = await channel.ListModels(model_pb2.ListModelsRequest())
        assert [model.id for model in listed.models] == ["scripted"]
        model = await channel.GetModel(model_pb2.GetModelRequest(id="scripted"))
        assert model.owned_by == "diglot"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.GetModel(model_pb2.GetModelRequest(id="no/such:model"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@both
async def test_a_deadline_ends_the_call_and_frees_the_model(kind: str) -> None:
    async with serving(kind) as (channel, chat):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.CreateChatCompletion(ask(script={"interval_ms": 600_000}), timeout=0.1)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await _idle(chat)


class Timed:
    """A call's context, with so many seconds until its deadline."""

    def __init__(self, remaining: float | None) -> None:
        self.remaining = remaining
        self.aborted: list[grpc.StatusCode] = []

    def invocation_metadata(self) -> None:
        return None

    def set_trailing_metadata(self, metadata: object) -> None:
        pass

    def time_remaining(self) -> float | None:
        return self.remaining

    async def abort(self, code: grpc.StatusCode, *_: object) -> None:
        self.aborted.append(code)
        raise grpc.aio.AbortError


@pytest.mark.parametrize("remaining", [None, 10.0, 0.0])
async def test_a_call_that_grpc_has_ended_is_sent_no_status(remaining: float | None) -> None:
    """gRPC would never free it (grpc/grpc#43360). A model's own time may be over before."""
    context = Timed(remaining)
    with pytest.raises(asyncio.CancelledError if remaining == 0 else grpc.aio.AbortError):
        async with Answering(cast(Any, context), NoKeys()):
            raise DeadlineExceeded
    assert context.aborted == [grpc.StatusCode.DEADLINE_EXCEEDED] * (remaining != 0)


@both
async def test_a_cancelled_unary_call_frees_the_model(kind: str) -> None:
    async with serving(kind) as (channel, chat):
        call = asyncio.ensure_future(
            _whole(channel.CreateChatCompletion(ask(script={"interval_ms": 600_000})))
        )
        await _busy(chat)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await _idle(chat)


@both
async def test_a_cancelled_stream_frees_the_model(kind: str) -> None:
    """Cancelled between two chunks, while nobody waits for one."""
    async with serving(kind) as (channel, chat):
        call = channel.StreamChatCompletion(ask(script={"interval_ms": 600_000}))
        async for _ in call:
            break
        assert chat.engine.active == 1
        assert call.cancel()
        await _idle(chat)
        assert not call.cancel()


@both
async def test_health_follows_the_models(kind: str) -> None:
    async with serving(kind) as (channel, chat):

        async def status() -> Any:
            return (await channel.Check(health_pb2.HealthCheckRequest())).status

        assert await status() == health_pb2.HealthCheckResponse.SERVING
        chat.engine.readiness.down("gone")
        while await status() != health_pb2.HealthCheckResponse.NOT_SERVING:
            await asyncio.sleep(0)
        chat.engine.readiness.up()
        while await status() != health_pb2.HealthCheckResponse.SERVING:
            await asyncio.sleep(0)


async def test_stored_completions_say_clearly_that_they_are_not_there() -> None:
    async with serving("grpc") as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.GetChatCompletion(chat_pb2.GetChatCompletionRequest(id="x"))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert details(caught.value)["ErrorInfo"].reason == "NOT_IMPLEMENTED"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_port_in_use_is_an_error_not_a_shared_port(host: str) -> None:
    async with scripted_service() as chat:
        first = GrpcServer(chat, chat.models, NoKeys())
        port = await first.start(f"{host}:0")
        second = GrpcServer(chat, chat.models, NoKeys())
        with pytest.raises(OSError, match="Address already in use"):
            await second.start(f"{host}:{port}")
        await second.stop(0)
        await first.stop(0)


async def test_a_stopping_server_finishes_what_is_in_flight() -> None:
    async with scripted_service() as chat:
        server = GrpcServer(chat, chat.models, NoKeys())
        port = await server.start("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stubs = Stubs(channel)
            script = {"content": "a b c d e", "interval_ms": 20}
            call = stubs.StreamChatCompletion(ask(script=script))
            chunks = aiter(call)
            first = await anext(chunks)
            stopping = asyncio.ensure_future(server.stop(10))
            rest = [chunk async for chunk in chunks]
            await stopping
        assert first.choices[0].delta.role
        assert rest[-1].choices[0].HasField("finish_reason")


async def _hear(call: Any, chunks: list[ChatCompletionChunk]) -> None:
    async for said in call:
        chunks += each(said)


async def _whole(call: Any) -> Any:
    if hasattr(call, "__aiter__"):
        return [item async for item in call]
    return await call


async def _busy(chat: ScriptedChat) -> None:
    while not chat.engine.active:
        await asyncio.sleep(0)


async def _idle(chat: ScriptedChat) -> None:
    while chat.engine.active:
        await asyncio.sleep(0)
