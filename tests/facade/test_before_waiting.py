"""Something else first, if there is something to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from diglot.facade.before_waiting import before_waiting


class Flush:
    """Counts, and optionally waits."""

    def __init__(self, wait: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.count = 0
        self._wait = wait

    async def __call__(self) -> None:
        self.count += 1
        if self._wait:
            await self._wait()


async def test_what_is_ready_is_not_waited_for() -> None:
    async def ready() -> int:
        return 5

    flush = Flush()
    assert await before_waiting(ready(), flush) == 5
    assert flush.count == 0


async def test_what_is_not_ready_is_flushed_for_once() -> None:
    async def slow() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return 5

    flush = Flush()
    assert await before_waiting(slow(), flush) == 5
    assert flush.count == 1


async def test_a_future_that_is_done_while_flushing() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def finish() -> None:
        await asyncio.sleep(0)
        future.set_result(5)
        await asyncio.sleep(0)

    flush = Flush(finish)
    assert await before_waiting(future, flush) == 5
    assert flush.count == 1


async def test_a_future_that_is_done_later() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    flush = Flush(lambda: asyncio.sleep(0))
    loop.call_later(0.001, future.set_result, 5)
    assert await before_waiting(future, flush) == 5


async def test_the_end_of_an_iterator_and_errors_come_through() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        raise KeyError("x")

    iterator = numbers()
    flush = Flush()
    assert await before_waiting(anext(iterator), flush) == 1
    with pytest.raises(KeyError):
        await before_waiting(anext(iterator), flush)
    assert flush.count == 1
    with pytest.raises(StopAsyncIteration):
        await before_waiting(anext(iterator), flush)


class Source:
    """Waits forever, and remembers what it was told."""

    def __init__(self) -> None:
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.told: BaseException | None = None
        self.waiting = asyncio.Event()

    async def __call__(self) -> int:
        self.waiting.set()
        try:
            return await self.future
        except BaseException as error:
            self.told = error
            if not isinstance(error, GeneratorExit):
                await asyncio.sleep(0)  # cleaning up may take a while
            raise


async def test_a_cancellation_while_waiting_reaches_the_source() -> None:
    source = Source()
    task = asyncio.create_task(_run(before_waiting(source(), Flush())))
    await source.waiting.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(source.told, asyncio.CancelledError)
    assert source.future.cancelled()


async def test_a_cancellation_while_flushing_reaches_the_source() -> None:
    source = Source()
    flushing = asyncio.Event()

    async def stuck() -> None:
        flushing.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(_run(before_waiting(source(), Flush(stuck))))
    await flushing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(source.told, asyncio.CancelledError)
    assert source.future.cancelled()


async def test_a_failing_flush_cancels_the_source() -> None:
    """Which has done nothing wrong, and shall not think so."""
    source = Source()

    async def fail() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await before_waiting(source(), Flush(fail))
    assert isinstance(source.told, asyncio.CancelledError)
    assert source.future.cancelled()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@pytest.mark.parametrize("done", [True, False], ids=["ready by then", "stubborn"])
async def test_a_failing_flush_is_told_whatever_the_source_says(done: bool) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def source() -> int:
        with suppress(asyncio.CancelledError):
            await future
        await asyncio.sleep(0)
        return 5

    async def fail() -> None:
        if done:
            future.set_result(5)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await before_waiting(source(), Flush(fail))
    await asyncio.sleep(0)  # and no cancellation is left over


async def test_an_async_generator_can_be_closed_after_a_cancelled_flush() -> None:
    closed = False

    async def numbers() -> AsyncIterator[int]:
        nonlocal closed
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            closed = True

    flushing = asyncio.Event()

    async def stuck() -> None:
        flushing.set()
        await asyncio.Event().wait()

    iterator = numbers()
    task = asyncio.create_task(_run(before_waiting(anext(iterator), Flush(stuck))))
    await flushing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed
    await iterator.aclose()  # type: ignore[attr-defined]


async def test_closing_what_waits_closes_the_source() -> None:
    source = Source()
    running = before_waiting(source(), Flush())
    running.send(None)
    running.close()
    assert isinstance(source.told, GeneratorExit)


async def _run(awaitable: Any) -> Any:
    return await awaitable
