"""Streamed answers of the scripted model: what each chunk costs the servers.

In bursts, as chunks come from a fast upstream: there is always another one waiting. And
paced, as a model speaks: each chunk comes alone and goes out alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import median
from typing import Any

from .command import run
from .load import Measurement, measure
from .table import Figure, Table
from .usage import MIB
from .ways import Way, three_ways

ROUNDS = 3


@dataclass(frozen=True)
class Speech:
    """How the model speaks, and to how many at a time."""

    name: str
    askers: int
    script: dict[str, Any]
    over: float = 0

    @property
    def note(self) -> str:
        interval = self.script.get("interval_ms")
        pace = f"one every {interval} ms" if interval else "as fast as they are taken"
        return (
            f"{self.askers} streams at a time, {self.script['tokens']} tokens each, {pace}. "
            "CPU is that of the servers, both processes where there are two. Busy: of one core; "
            "others: what else was at work, of all cores."
        )


BURSTS = Speech("in bursts", 16, {"tokens": 500})
PACED = Speech("paced", 50, {"tokens": 100, "interval_ms": 20}, over=2)


async def tables(seconds: float) -> list[Table]:
    async with three_ways() as ways:
        return [await _table(ways, BURSTS, seconds), await _table(ways, PACED, seconds)]


async def _table(ways: tuple[Way, ...], speech: Speech, seconds: float) -> Table:
    taken: dict[str, list[Measurement]] = {way.name: [] for way in ways}
    for number in range(ROUNDS):
        for way in ways:
            progress = f"chunks {speech.name}, round {number + 1} of {ROUNDS}: {way.name}"
            print(progress, file=sys.stderr)
            taken[way.name].append(await _measure(way, speech, seconds / ROUNDS))
    columns = (
        "way",
        "chunks/s",
        "CPU µs/chunk",
        "servers busy",
        "clients busy",
        "others",
        "RSS MiB",
    )
    rows = tuple((name, *_figures(measured)) for name, measured in taken.items())
    return Table(f"Streamed chunks {speech.name}, scripted model", speech.note, columns, rows)


async def _measure(way: Way, speech: Speech, seconds: float) -> Measurement:
    client = way.client(stream=True, script=speech.script)
    try:
        return await measure(
            client, way.processes, askers=speech.askers, seconds=seconds, over=speech.over
        )
    finally:
        await client.close()


def _figures(measured: list[Measurement]) -> tuple[str | Figure, ...]:
    return (
        Figure(tuple(each.tally.chunks / each.seconds for each in measured)),
        Figure(tuple(1e6 * each.cpu / each.tally.chunks for each in measured), 1),
        f"{median(each.cpu / each.seconds for each in measured):.0%}",
        f"{median(each.own_cpu / each.seconds for each in measured):.0%}",
        f"{median(each.others for each in measured):.0%}",
        f"{max(each.rss for each in measured) / MIB:.0f}",
    )


if __name__ == "__main__":
    run(tables)
