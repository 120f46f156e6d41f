"""Questions that come when they come, whether or not the last ones have been answered.

Their times count from when they were due: a server that stalls is charged with all who would
have come meanwhile, and so is a late client.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from .load import Client, Tally

PATIENCE = 30.0
"""Seconds that answers may take after the last question."""


async def ask_at(
    client: Client,
    rate: float,
    seconds: float,
    tally: Tally,
    *,
    around: float = 0,
    patience: float = PATIENCE,
) -> None:
    """So many questions a second, evenly spread; returns when all are answered.

    Those of so many seconds around do not count: they are there for the others to find the
    server under load.

    Raises TimeoutError if they are not within reason: the rate is too much for the server; and
    RuntimeError if more than one in a hundred failed.
    """
    uncounted = round(rate * around)
    counted = range(uncounted, uncounted + max(1, round(rate * seconds)))
    total = counted.stop + uncounted
    other = Tally()
    async with (
        asyncio.timeout(seconds + 2 * around + patience),
        asyncio.TaskGroup() as asking,
        _ticks(1 / rate) as (began, ticks),
    ):
        asked = 0
        while asked < total:
            for _ in range(min(await ticks.get(), total - asked)):
                told = tally if asked in counted else other
                asked += 1
                asking.create_task(_ask(client, told, began + asked / rate))
    if failures := tally.failures:
        print(f"{len(failures)} of {len(counted)} failed: {failures[0]}", file=sys.stderr)
        if len(failures) > len(counted) / 100:
            raise RuntimeError(f"too many failed: {failures[0]}")


async def _ask(client: Client, tally: Tally, due: float) -> None:
    try:
        await client.ask(tally, due)
    except (RuntimeError, OSError, grpc.RpcError) as error:
        tally.failures.append(str(error))
    else:
        tally.ended(due)


@asynccontextmanager
async def _ticks(interval: float) -> AsyncIterator[tuple[float, asyncio.Queue[int]]]:
    """When they began, by time.perf_counter(), and how many more are over.

    A timer of the kernel's: those of event loops go off a millisecond late, which is more than
    what is to be measured.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "no timer")
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    ticks: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    try:
        _set(libc, timer, interval, began + interval)
        loop.add_reader(
            timer, lambda: ticks.put_nowait(int.from_bytes(os.read(timer, 8), "little"))
        )
        yield began, ticks
    finally:
        loop.remove_reader(timer)
        os.close(timer)


def _set(libc: ctypes.CDLL, timer: int, interval: float, first: float) -> None:
    # struct itimerspec: seconds and nanoseconds, of the interval and of the first time.
    parts = [part for value in (interval, first) for part in divmod(round(value * 1e9), 10**9)]
    absolute = 1
    if libc.timerfd_settime(timer, absolute, (ctypes.c_long * 4)(*parts), None):
        raise OSError(ctypes.get_errno(), "the timer cannot be set")
