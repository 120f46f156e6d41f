"""Streamed answers: what each chunk costs the servers.

In bursts, as chunks come from a fast upstream: there is always another one waiting. And
paced, as a model speaks: each chunk comes alone and goes out alone. Of the scripted model, and
of an upstream that has its answer ready.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .command import run
from .effort import Effort
from .instant_upstream import EVENTS, INTERVAL
from .load import Measurement, measure
from .table import Figure, Table
from .usage import MIB
from .ways import Way, ways

ROUNDS = 3


@dataclass(frozen=True)
class Speech:
    """How a model speaks, and to how many at a time."""

    name: str
    model: str
    askers: int
    events: int
    """Chunks of an answer."""
    note: str
    over: float = 0
    """Seconds over which the askers begin."""
    extra: dict[str, Any] = field(default_factory=dict)


_EVERY = f"one every {1000 * INTERVAL:.0f} ms"
SPEECHES = (
    Speech(
        "in bursts, scripted model",
        "scripted",
        16,
        503,
        "500 tokens each, as fast as they are taken.",
        extra={"scripted": {"tokens": 500}},
    ),
    Speech(
        "paced, scripted model",
        "scripted",
        50,
        103,
        f"100 tokens each, {_EVERY}.",
        over=2,
        extra={"scripted": {"tokens": 100, "interval_ms": 1000 * INTERVAL}},
    ),
    Speech(
        "in bursts, instant upstream", "burst", 16, EVENTS, f"{EVENTS} events each, all at once."
    ),
    Speech(
        "paced, instant upstream", "paced", 50, EVENTS, f"{EVENTS} events each, {_EVERY}.", over=2
    ),
)
_COLUMNS = (
    "way",
    "chunks/s",
    "CPU µs/chunk",
    "chunks/s per core",
    "servers busy",
    "clients busy",
    "others",
    "RSS MiB",
)
_NOTE = (
    " CPU is that of Diglot's processes, both where there are two, and the requests' own is in it. "
    "Per core: how many chunks a whole core's time would do. Busy: of one core; others: what else "
    "was at work, of all cores."
)


async def tables(effort: Effort) -> list[Table]:
    async with ways() as all_ways:
        return [await _table(all_ways.through, speech, effort) for speech in SPEECHES]


async def _table(through: tuple[Way, ...], speech: Speech, effort: Effort) -> Table:
    taken: dict[str, list[Measurement]] = {way.name: [] for way in through}
    for number in range(ROUNDS):
        for way in through:
            progress = f"chunks {speech.name}, round {number + 1} of {ROUNDS}: {way.name}"
            print(progress, file=sys.stderr)
            taken[way.name].append(await _measure(way, speech, effort.seconds / ROUNDS))
    rows = tuple((name, *_figures(measured, speech)) for name, measured in taken.items())
    note = f"{speech.askers} streams at a time, {speech.note}{_NOTE}"
    return Table(f"Streamed chunks {speech.name}", note, _COLUMNS, rows)


async def _measure(way: Way, speech: Speech, seconds: float) -> Measurement:
    client = way.client(speech.model, stream=True, **speech.extra)
    try:
        return await measure(
            client, way.processes, askers=speech.askers, seconds=seconds, over=speech.over
        )
    finally:
        await client.close()


def _figures(measured: list[Measurement], speech: Speech) -> tuple[str | Figure, ...]:
    chunks = [_chunks(each, speech) for each in measured]
    pairs = list(zip(measured, chunks, strict=True))
    return (
        Figure(tuple(count / each.seconds for each, count in pairs)),
        Figure(tuple(1e6 * each.cpu / count for each, count in pairs), 1),
        Figure(tuple(count / each.cpu for each, count in pairs)),
        f"{median(each.cpu / each.seconds for each in measured):.0%}",
        f"{median(each.own_cpu / each.seconds for each in measured):.0%}",
        f"{median(each.others for each in measured):.0%}",
        f"{max(each.rss for each in measured) / MIB:.0f}",
    )


def _chunks(each: Measurement, speech: Speech) -> int:
    """The model's. Over HTTP those that waited on the way, and were merged, come as one event."""
    return max(each.tally.chunks, each.tally.answers * speech.events)


if __name__ == "__main__":
    run(chunks=tables)
