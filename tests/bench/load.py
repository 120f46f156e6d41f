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
    """What has arrived. Times are in seconds."""

    answers: int = 0
    chunks: int = 0
    waits: list[float] = field(default_factory=list)
    """How long each answer took, all of it."""
    firsts: list[float] = field(default_factory=list)
    """How long each answer took to begin."""
    gaps: list[float] = field(default_factory=list)
    """From one arrival of chunks to the next within an answer."""
    failures: list[str] = field(default_factory=list)
    """What was said instead of an answer, where that was not the end of it all."""

    def arrived(self, chunks: int, since: float, *, first: bool) -> float:
        """`since` is when the last ones came, or the first ones were due. Returns the time."""
        now = time.perf_counter()
        self.chunks += chunks
        (self.firsts if first else self.gaps).append(now - since)
        return now

    def ended(self, due: float) -> None:
        self.answers += 1
        self.waits.append(time.perf_counter() - due)

    def clear(self) -> None:
        self.answers = self.chunks = 0
        for each in (self.waits, self.firsts, self.gaps, self.failures):
            each.clear()


def percentile(values: Sequence[float], percent: float) -> float:
    """In milliseconds, of seconds."""
    if not values:
        raise RuntimeError("nothing has arrived")
    return 1000 * sorted(values)[min(int(len(values) * percent / 100), len(values) - 1)]


class Client(Protocol):
    """Asks one question over and over, for many askers at a time."""

    async def ask(self, tally: Tally, due: float) -> None:
        """Tells the tally of chunks as they come. Raises if the answer is an error.

        `due` is when the question was to be asked, by time.perf_counter().
        """

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
    tally.clear()
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
        await client.ask(tally, began)
        tally.ended(began)
