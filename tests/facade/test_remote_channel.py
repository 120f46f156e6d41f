"""The channel to a service elsewhere, and what happens when there is none."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import self_signed
from grpc_health.v1.health_pb2 import HealthCheckRequest

from diglot.facade import RemoteChannel
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.model_pb2 import GetModelRequest, ListModelsRequest

from .fake import KEY, FakeService, chunk, completion, facade, over, serving, status

CALL: dict[str, Any] = {"timeout": 10, "metadata": [("authorization", f"Bearer {KEY}")]}


async def test_every_method() -> None:
    async with serving(FakeService()) as target:
        channel = RemoteChannel(target)
        request = CreateChatCompletionRequest(model="m")
        assert (await channel.CreateChatCompletion(request, **CALL)).id == "chatcmpl-1"
        stream = channel.StreamChatCompletion(request, **CALL)
        assert len([piece async for piece in stream]) == 4
        assert stream.cancel() is False
        assert (await channel.ListModels(ListModelsRequest(), **CALL)).models
        assert (await channel.GetModel(GetModelRequest(id="x"), **CALL)).id == "x"
        assert (await channel.Check(HealthCheckRequest(), timeout=10, metadata=())).status == 1
        await channel.close()


async def test_a_full_replica_is_asked_again_and_another_error_is_not() -> None:
    service = FakeService()
    answers = [status("QUEUE_FULL", "Full."), status("QUEUE_FULL", "Full."), None]

    async def create(request: Any, context: Any) -> Any:
        answer = answers.pop(0)
        if answer is not None:
            await context.abort_with_status(answer)
        return completion()

    service.create = create
    async with facade(service) as running:
        assert (await running.ask())[0] == 200
        assert len(service.calls) == 3
        answers[:] = [status("RATE_LIMIT_EXCEEDED", "Slow down."), None]
        assert (await running.ask())[0] == 429
        assert len(service.calls) == 4


async def test_a_stream_that_has_begun_is_never_begun_again() -> None:
    service = FakeService()

    async def stream(request: Any, context: Any) -> None:
        await context.write(chunk("x"))
        await context.abort_with_status(status("ENGINE_LOST", "Lost."))

    service.stream = stream
    async with facade(service) as running:
        assert b'"code": "engine_lost"' in await running.events()
        assert len(service.calls) == 1


async def test_a_message_larger_than_the_service_takes() -> None:
    async with serving(FakeService()) as target:
        small = [("grpc.max_send_message_length", 1000)]
        async with over(RemoteChannel(target, options=small)) as running:
            asked = {"model": "m", "messages": [], "user": "x" * 2000}
            error = await running.refusal(asked)
            assert (error["status"], error["code"]) == (413, "request_too_large")
        large = [("grpc.max_send_message_length", 64 * 2**20)]
        async with over(RemoteChannel(target, options=large), max_body=2**26) as running:
            asked = {"model": "m", "messages": [], "user": "x" * (33 * 2**20)}
            error = await running.refusal(asked)
            assert (error["status"], error["code"]) == (413, "request_too_large")


async def test_an_answer_larger_than_the_channel_takes_is_not_the_clients_fault() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> Any:
        return completion(system_fingerprint="x" * 2000)

    service.create = create
    async with serving(service) as target:
        small = [("grpc.max_receive_message_length", 1000)]
        async with over(RemoteChannel(target, options=small)) as running:
            error = await running.refusal()
            assert error["status"] == 500


async def test_without_a_service() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        async with over(RemoteChannel(target)) as running:
            error = await running.refusal()
            assert (error["status"], error["code"]) == (503, "server_not_ready")
            assert "127.0.0.1" not in error["message"]
            code, _, answer = await running.get("/readyz")
            assert code == 503
            assert answer["error"]["message"] == (
                "The service is not ready: it cannot be reached, or says that it is not serving."
            )
            assert (await running.get("/healthz"))[0] == 200
            assert (await running.get("/v1/foo"))[0] == 503


async def test_a_channel_that_is_closed_ends_its_calls() -> None:
    service = FakeService()
    service.create = service.hang
    async with serving(service) as target:
        channel = RemoteChannel(target)
        call = channel.CreateChatCompletion(CreateChatCompletionRequest(), **CALL)
        await service.called.wait()
        await channel.close()
        await service.cancelled.wait()
        with pytest.raises(BaseException):  # noqa: B017  # grpc says CancelledError
            await call


async def test_tls(tmp_path: Path) -> None:
    certificate, key = (file.read_bytes() for file in self_signed(tmp_path, "service"))
    async with serving(FakeService(), grpc.ssl_server_credentials([(key, certificate)])) as target:
        trusting = RemoteChannel(target, grpc.ssl_channel_credentials(certificate))
        assert (await trusting.ListModels(ListModelsRequest(), **CALL)).models
        await trusting.close()
        careful = RemoteChannel(target, grpc.ssl_channel_credentials())
        with pytest.raises(grpc.aio.AioRpcError):
            await careful.ListModels(ListModelsRequest(), **CALL)
        await careful.close()
