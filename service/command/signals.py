"""What signals ask of a server that runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager

Stopped = Callable[[Awaitable[object]], Coroutine[None, None, bool]]


@contextmanager
def asked_by(number: signal.Signals) -> Iterator[asyncio.Event]:
    """An event that is set by every such signal, which would end the process otherwise."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_signal_handler(number, asked.set)
    try:
        yield asked
    finally:
        loop.remove_signal_handler(number)


@asynccontextmanager
async def beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Has it done meanwhile, as far as it comes."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def until_stopped() -> AsyncIterator[Stopped]:
    """Gives a function that awaits something, or the signal to stop: true if it was done.

    The second SIGINT or SIGTERM ends the process as it would have without us: for who does
    not want to wait for calls in flight.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    async def stopped(work: Awaitable[object]) -> bool:
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            await task
            return True
        finally:
            for future in (task, stopping):
                future.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    yield stopped
