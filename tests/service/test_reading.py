"""Clients of a gRPC stream that do not read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import grpc
import pytest
from engines import FakeEngine
from serving import ask

from diglot.service.admission import Admission, Limits
from diglot.service.chat import ChatService
from diglot.service.entrance import NoKeys
from diglot.service.errors import DeadlineExceeded
from diglot.service.models import Models, ServedModel
from diglot.service.reading import Reading
from diglot.service.server import GrpcServer
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.model_pb2 import Model

WORD = "x" * 10_000
MOST = 24 * 2**20 // len(WORD)


class Counting(FakeEngine):
    """Says long words, and counts them."""

    def __init__(self) -> None:
        self.said = 0
        super().__init__(*(step for _ in range(2 * MOST) for step in (WORD, self._count)))

    async def _count(self) -> None:
        self.said += 1


@asynccontextmanager
async def serving(engine: FakeEngine, write_timeout: float) -> AsyncIterator[tuple[str, Admission]]:
    admission = Admission(Limits(running=2, queued=0, queue_seconds=1))
    models = Models([ServedModel(Model(id="scripted"), engine, admission=admission)])
    server = GrpcServer(ChatService(models), models, NoKeys(), write_timeout=write_timeout)
    port = await server.start("127.0.0.1:0")
    try:
        yield f"127.0.0.1:{port}", admission
    finally:
        await server.stop(0)


async def rest_of(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_who_does_not_read_is_cut_off_and_its_place_is_free() -> None:
    """Bounded is what it makes the server hold; another stream goes on undisturbed."""
    engine = Counting()
    paced = asyncio.Event()
    engine.then = [engine.steps, ("tick", paced.wait, "tock")]
    async with (
        serving(engine, 0.3) as (address, admission),
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = ChatServiceStub(channel)
        stalled = stub.StreamChatCompletion(ask())
        await stalled.read()
        other = stub.StreamChatCompletion(ask())
        await other.read()
        assert admission.running == 2
        while engine.active == 2:
            await asyncio.sleep(0.01)
        assert 0 < engine.said < MOST
        assert admission.running == 1
        paced.set()
        await rest_of(other)
        assert await other.code() is grpc.StatusCode.OK
        # Should it read after all, it has what was on its way, and learns that it is not whole.
        with pytest.raises(grpc.aio.AioRpcError, match="not read") as ended:
            await rest_of(stalled)
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_only_one_write_that_waits_for_too_long_is_the_end() -> None:
    """Not many that wait a little, nor an engine that takes its time."""
    with Reading(10) as reading:
        reading.waits_since = monotonic() - 9
        reading._look()
        reading.waits_since = 0.0
        reading._look()
        await asyncio.sleep(0)
        reading.waits_since = monotonic() - 10
        reading._look()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        # As the write would, which has to clean up.
        with pytest.raises(DeadlineExceeded, match="not read"):
            reading.__exit__(None, asyncio.CancelledError(), None)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_its_end_is_that_of_its_wait() -> None:
    async def wait() -> None:
        with Reading(0.05) as reading:
            reading.waits_since = monotonic()
            await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlineExceeded):
        await wait()


async def test_a_cancellation_of_anothers_stays_one() -> None:
    async def wait() -> None:
        with Reading(60) as reading:
            reading.waits_since = monotonic()
            await asyncio.get_running_loop().create_future()

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
