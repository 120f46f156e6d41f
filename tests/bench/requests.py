"""Whole answers of the scripted model: how many a second, and what each costs the servers."""

from __future__ import annotations

import sys
from statistics import median

from .command import run
from .load import Measurement, measure
from .table import Figure, Table
from .usage import MIB
from .ways import Way, three_ways

ROUNDS = 3
ASKERS = 16

_NOTE = (
    f"{ASKERS} requests in flight, an answer of 8 words. CPU is that of the servers, both "
    "processes where there are two. The clients share the machine's cores with them: where "
    "they are near 100 % busy, it is they that limit the rate, not the server. Others: what else "
    "was at work, of all cores."
)


async def tables(seconds: float) -> list[Table]:
    async with three_ways() as ways:
        taken: dict[str, list[Measurement]] = {way.name: [] for way in ways}
        for number in range(ROUNDS):
            for way in ways:
                print(f"requests, round {number + 1} of {ROUNDS}: {way.name}", file=sys.stderr)
                taken[way.name].append(await _measure(way, seconds / ROUNDS))
    columns = (
        "way",
        "requests/s",
        "CPU µs/request",
        "p50 ms",
        "p99 ms",
        "clients busy",
        "others",
        "RSS MiB",
    )
    rows = tuple((name, *_figures(measured)) for name, measured in taken.items())
    return [Table("Unary requests, scripted model", _NOTE, columns, rows)]


async def _measure(way: Way, seconds: float) -> Measurement:
    client = way.client(stream=False)
    try:
        return await measure(client, way.processes, askers=ASKERS, seconds=seconds)
    finally:
        await client.close()


def _figures(measured: list[Measurement]) -> tuple[str | Figure, ...]:
    busy = median(each.own_cpu / each.seconds for each in measured)
    return (
        Figure(tuple(each.tally.answers / each.seconds for each in measured)),
        Figure(tuple(1e6 * each.cpu / each.tally.answers for each in measured)),
        Figure(tuple(each.percentile(50) for each in measured), 1),
        Figure(tuple(each.percentile(99) for each in measured), 1),
        f"{busy:.0%}",
        f"{median(each.others for each in measured):.0%}",
        f"{max(each.rss for each in measured) / MIB:.0f}",
    )


if __name__ == "__main__":
    run(tables)
