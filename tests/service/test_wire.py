"""What is no message, sent to a real server: the caller's fault, and told so."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from serving import scripted_service

from diglot.service.entrance import NoKeys
from diglot.service.keys import KeyRing
from diglot.service.server import GrpcServer
from diglot.service.wire import Unreadable

CORRUPT = b"\x0a\xff"


async def answered(target: str, method: str, *, streamed: bool) -> grpc.aio.AioRpcError:
    """What comes of corrupt bytes; a call that is answered is none."""
    async with grpc.aio.insecure_channel(target) as channel:
        path = f"/diglot.v1.ChatService/{method}"
        call: Any = (channel.unary_stream if streamed else channel.unary_unary)(path)
        outcome = call(CORRUPT).read() if streamed else call(CORRUPT)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await outcome
        return refused.value


@pytest.mark.parametrize(
    ("method", "streamed"),
    [("CreateChatCompletion", False), ("StreamChatCompletion", True)],
)
async def test_bytes_that_are_no_message_are_the_callers_fault(
    method: str, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_service() as chat:
        server = GrpcServer(chat, chat.models, NoKeys())
        try:
            target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
            error = await answered(target, method, streamed=streamed)
        finally:
            await server.stop(0)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "INVALID_VALUE"
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_without_a_key_nobody_is_told_what_is_wrong(tmp_path: Any) -> None:
    async with scripted_service() as chat:
        server = GrpcServer(chat, chat.models, KeyRing(tmp_path / "keys.json"))
        try:
            target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
            error = await answered(target, "CreateChatCompletion", streamed=False)
        finally:
            await server.stop(0)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_no_field_of_it_can_be_read() -> None:
    with pytest.raises(Exception, match="corrupt"):
        Unreadable().model  # noqa: B018
