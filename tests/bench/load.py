"""Clients that ask without pause, and what the servers spend on them meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .quiet import Others, quiet
from .usage import cpu_seconds, rss

_WARM_UP = 0.5
"""Seconds."""


@dataclass
class Tally:
    """What has arrived."""

    answers: int = 0
    chunks: int = 0
    waits: list[float] = field(default_factory=list)
    """How long each answer took, in seconds."""


class Client(Protocol):
    """Asks one question over and over, for many askers at a time."""

    async def ask(self, tally: Tally) -> None:
        """Adds to `tally.chunks` as they come. Raises if the answer is an error."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Measurement:
    """What went on in a stretch of time."""

    seconds: float
    tally: Tally
    cpu: float
    """Seconds that the servers spent."""
    own_cpu: float
    """Seconds that the benchmark spent: near `seconds` it is the clients that are measured."""
    others: float
    """The share of the machine that others took meanwhile."""
    rss: int

    def percentile(self, percent: int) -> float:
        """Of the waits, in milliseconds."""
        waits = sorted(self.tally.waits)
        return 1000 * waits[min(len(waits) * percent // 100, len(waits) - 1)]


async def measure(
    client: Client,
    processes: Sequence[int],
    *,
    askers: int,
    seconds: float,
    over: float = 0,
) -> Measurement:
    """Keeps `askers` questions under way. They begin evenly spread `over` so many seconds."""
    await quiet()
    tally = Tally()
    try:
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(_ask_on(client, tally, over * number / askers))
                for number in range(askers)
            ]
            await asyncio.sleep(over + _WARM_UP)
            result = await _observe(tally, processes, seconds)
            for task in asking:
                task.cancel()
    except ExceptionGroup as failures:
        # They fail alike, so one tells all.
        raise failures.exceptions[0] from None
    return result


async def _observe(tally: Tally, processes: Sequence[int], seconds: float) -> Measurement:
    tally.answers = tally.chunks = 0
    tally.waits.clear()
    others = Others()
    began, cpu, own_cpu = time.perf_counter(), cpu_seconds(processes), time.process_time()
    await asyncio.sleep(seconds)
    return Measurement(
        seconds=time.perf_counter() - began,
        tally=Tally(tally.answers, tally.chunks, tally.waits.copy()),
        cpu=cpu_seconds(processes) - cpu,
        own_cpu=time.process_time() - own_cpu,
        others=others.share,
        rss=rss(processes),
    )


async def _ask_on(client: Client, tally: Tally, delay: float) -> None:
    await asyncio.sleep(delay)
    while True:
        began = time.perf_counter()
        await client.ask(tally)
        tally.answers += 1
        tally.waits.append(time.perf_counter() - began)
