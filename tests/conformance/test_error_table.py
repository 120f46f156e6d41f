"""The contract's table of errors, row by row: what the service sends, and what the façade makes
of it. The façade's own tests have its reading alone; here the two meet."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc
import openai
import pytest

from diglot.burst import Burst
from diglot.facade.errors import from_rpc_error
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.scripted import ScriptedEngine
from diglot.service.status import mapping, to_rpc_error
from diglot.v1 import error_pb2
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from .scenarios import HELLO
from .test_failures import details_of
from .ways import open_ways

REASONS = error_pb2.ErrorReason.values()
# OpenAI's own, and "requests" for its rate limits.
TYPES = {"invalid_request_error", "server_error", "requests"}
# What may stand behind a code, by google.rpc's rule and the exceptions of reference/errors.md:
# INVALID_ARGUMENT has the closer statuses of HTTP, and UNIMPLEMENTED is "no such path" there.
STATUSES = {
    "INVALID_ARGUMENT": {400, 413, 414, 415, 431},
    "UNAUTHENTICATED": {401},
    "PERMISSION_DENIED": {403},
    "NOT_FOUND": {404},
    "UNIMPLEMENTED": {404, 405, 501},
    "RESOURCE_EXHAUSTED": {429},
    "CANCELLED": {499},
    "INTERNAL": {500, 502},
    "UNKNOWN": {500},
    "UNAVAILABLE": {503},
    "DEADLINE_EXCEEDED": {408, 504},
}


def name_of(reason: error_pb2.ErrorReason.ValueType) -> str:
    return error_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def failing(reason: error_pb2.ErrorReason.ValueType) -> errors.ChatError:
    """An error of this reason, whether the core has a class for it or not."""
    kind = type("Failing", (errors.ChatError,), {"reason": reason})
    error: errors.ChatError = kind("It failed.", field="messages[0].parts[1]", retry_after=1.5)
    return error


every_reason = pytest.mark.parametrize("reason", REASONS, ids=name_of)


@every_reason
def test_what_the_service_says_the_facade_understands(
    reason: error_pb2.ErrorReason.ValueType,
) -> None:
    row = mapping(reason)
    error = to_rpc_error(failing(reason), "req_1")
    assert error.code() is grpc.StatusCode[row.grpc_code]
    answer = from_rpc_error(error)
    assert answer.status == row.http_status
    # Whatever the row says: to say when to come again is to say that it makes sense.
    assert (answer.headers["x-should-retry"], answer.headers["Retry-After"]) == ("true", "2")
    assert json.loads(answer.body)["error"] == {
        "message": "It failed.",
        "type": row.type,
        "param": "messages[0].content[1]",
        "code": row.code if row.HasField("code") else None,
    }


@every_reason
def test_a_row_makes_sense(reason: error_pb2.ErrorReason.ValueType) -> None:
    row = mapping(reason)
    assert row.http_status in STATUSES[row.grpc_code]
    assert row.type in TYPES
    assert (row.type == "server_error") == (row.http_status >= 499)
    # What may be sent again is what clients of either face send again by themselves.
    assert row.retryable == (row.grpc_code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"))


def test_the_cores_errors_are_rows() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.ChatError) and hasattr(kind, "reason")
    ]
    reasons = [kind.reason for kind in kinds]
    assert len(set(reasons)) == len(reasons) > 15
    assert set(reasons) <= set(REASONS)


class FailingEngine(ScriptedEngine):
    """Fails for the reason that the request's `user` names."""

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        async with aclosing(super().stream(request, call)) as bursts:
            async for burst in bursts:
                if request.user:
                    raise failing(error_pb2.ErrorReason.Value(f"ERROR_REASON_{request.user}"))
                yield burst


async def test_every_row_from_the_engine_to_the_caller() -> None:
    async with open_ways("sdk, in-process", "grpc", engine=FailingEngine()) as (http, wire):
        for reason in REASONS:
            row = mapping(reason)
            body = {"model": "scripted", "messages": [HELLO], "user": name_of(reason)}
            with pytest.raises(openai.APIStatusError) as refused:
                await http.create(body)
            assert refused.value.status_code == row.http_status
            assert refused.value.code == (row.code if row.HasField("code") else None)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await wire.create(body)
            assert failed.value.code() is grpc.StatusCode[row.grpc_code]
            assert details_of(failed.value)["ErrorInfo"].reason == name_of(reason)
