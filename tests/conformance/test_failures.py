"""Every failure, every way, whole and streamed: what the caller is told, on each face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import openai
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from .failures import BUG, FAILURES, LATE, Failure
from .plain import Json
from .scenarios import STREAMED
from .ways import NAMES, SDK_NAMES, Way, open_way

CASES = [(failure, mode) for failure in FAILURES for mode in failure.modes]
CALL_NAMES = NAMES[2:]


def case_id(value: object) -> str:
    return value.name if isinstance(value, Failure) else str(value)


for_each_case = pytest.mark.parametrize(("failure", "mode"), CASES, ids=case_id)


@asynccontextmanager
async def fails(name: str, failure: Failure) -> AsyncIterator[Way]:
    """The way; and afterwards nothing is left of the call."""
    async with open_way(name, timeout=failure.timeout) as way:
        yield way
        while way.engine.active:
            # On a socket a deadline strikes at both ends: at the service, a little later.
            assert failure.face is LATE
            await asyncio.sleep(0)


async def ask(way: Way, failure: Failure, mode: str, seen: list[Json]) -> None:
    """Asks, and keeps the chunks that come before the failure."""
    if mode == STREAMED:
        async with aclosing(way.stream(failure.body, failure.key)) as chunks:
            async for chunk in chunks:
                seen.append(chunk)  # noqa: PERF401  # a list made at once is lost when it fails
    else:
        await way.create(failure.body, failure.key)


@pytest.mark.parametrize("name", SDK_NAMES)
@for_each_case
async def test_what_the_sdk_raises(name: str, failure: Failure, mode: str) -> None:
    face = failure.face
    seen: list[Json] = []
    async with fails(name, failure) as way:
        with pytest.raises(openai.APIError) as caught:
            await ask(way, failure, mode, seen)
    error = caught.value
    assert (error.type, error.code, error.param) == (face.type, face.code, failure.param)
    assert failure.says in error.message
    assert error.message
    assert "scripted bug" not in str(error.body)
    assert isinstance(error.body, dict)
    # `misalignment` is a key that the SDK knows, and nobody sends.
    assert set(error.body) == {"message", "type", "param", "code"}
    if mode == STREAMED and failure.begun:
        assert seen[0]["choices"][0]["delta"]["role"] == "assistant"
        # The status has gone out: a plain error, without one.
        assert type(error) is openai.APIError
        return
    assert not seen
    assert type(error) is face.error
    assert isinstance(error, openai.APIStatusError)
    assert error.status_code == face.status
    assert error.request_id
    assert error.response.headers["content-type"].startswith("application/json")
    assert error.response.headers["x-should-retry"] == ("true" if face.retryable else "false")
    after = failure.retry_after
    assert error.response.headers.get("retry-after") == (None if after is None else str(after))


@pytest.mark.parametrize("name", CALL_NAMES)
@for_each_case
async def test_what_a_stub_raises(name: str, failure: Failure, mode: str) -> None:
    face = failure.face
    seen: list[Json] = []
    async with fails(name, failure) as way:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(way, failure, mode, seen)
    error = caught.value
    assert bool(seen) == (mode == STREAMED and failure.begun)
    assert error.code() is grpc.StatusCode[face.grpc_code]
    details = details_of(error)
    if face is LATE and not details:
        return  # The client's own clock was faster than the service's answer.
    assert failure.says in (error.details() or "")
    assert "scripted bug" not in (error.details() or "")
    assert details["ErrorInfo"].reason == face.reason
    assert details["ErrorInfo"].domain == "diglot"
    assert details["RequestInfo"].request_id
    field = failure.field or failure.param
    if field is None:
        assert "BadRequest" not in details
    else:
        [violation] = details["BadRequest"].field_violations
        assert violation.field == field
    if failure.retry_after is None:
        assert "RetryInfo" not in details
    else:
        assert details["RetryInfo"].retry_delay.ToSeconds() == failure.retry_after


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The google.rpc details, by their names."""
    status = rpc_status.from_call(error)
    found: dict[str, Any] = {}
    for packed in status.details if status else ():
        kind = packed.TypeName().rpartition(".")[2]
        found[kind] = getattr(error_details_pb2, kind)()
        packed.Unpack(found[kind])
    return found


async def test_a_bug_is_logged_for_those_who_can_mend_it(caplog: pytest.LogCaptureFixture) -> None:
    [failure] = [one for one in FAILURES if one.face is BUG and not one.begun]
    async with open_way("sdk, grpc") as way:
        with pytest.raises(openai.InternalServerError) as caught:
            await way.create(failure.body)
    assert "scripted bug" in caplog.text
    [record] = [one for one in caplog.records if one.name == "diglot.rpc"]
    assert vars(record)["request_id"] == caught.value.request_id
