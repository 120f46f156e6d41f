"""Whole answers: how many a second, and what each costs the servers.

Of the scripted model, and of an upstream that has its answer ready, streamed or in one piece.
"""

from __future__ import annotations

import sys
from statistics import median

from .command import run
from .effort import Effort
from .load import Measurement, measure, percentile
from .table import Figure, Table
from .usage import MIB
from .ways import Way, ways

ROUNDS = 3
ASKERS = 16
MODELS = {
    "scripted": "scripted model",
    "unary": "instant upstream",
    "whole": "instant upstream, asked whole",
}

_NOTE = (
    f"{ASKERS} requests in flight, an answer of 8 words (scripted) or 14 (upstream). CPU is that "
    "of Diglot's processes, both where there are two. The clients share the machine's cores with "
    "them: where they are near 100 % busy, it is they that limit the rate, not the server. "
    "Others: what else was at work, of all cores."
)
_COLUMNS = (
    "way",
    "requests/s",
    "CPU µs/request",
    "p50 ms",
    "p99 ms",
    "clients busy",
    "others",
    "RSS MiB",
)


async def tables(effort: Effort) -> list[Table]:
    async with ways() as all_ways:
        return [
            await _table(all_ways.through, model, name, effort) for model, name in MODELS.items()
        ]


async def _table(through: tuple[Way, ...], model: str, name: str, effort: Effort) -> Table:
    taken: dict[str, list[Measurement]] = {way.name: [] for way in through}
    for number in range(ROUNDS):
        for way in through:
            progress = f"requests, {name}, round {number + 1} of {ROUNDS}: {way.name}"
            print(progress, file=sys.stderr)
            taken[way.name].append(await _measure(way, model, effort.seconds / ROUNDS))
    rows = tuple((name, *_figures(measured)) for name, measured in taken.items())
    return Table(f"Unary requests, {name}", _NOTE, _COLUMNS, rows)


async def _measure(way: Way, model: str, seconds: float) -> Measurement:
    client = way.client(model, stream=False)
    try:
        return await measure(client, way.processes, askers=ASKERS, seconds=seconds)
    finally:
        await client.close()


def _figures(measured: list[Measurement]) -> tuple[str | Figure, ...]:
    busy = median(each.own_cpu / each.seconds for each in measured)
    return (
        Figure(tuple(each.tally.answers / each.seconds for each in measured)),
        Figure(tuple(1e6 * each.cpu / each.tally.answers for each in measured)),
        Figure(tuple(percentile(each.tally.waits, 50) for each in measured), 1),
        Figure(tuple(percentile(each.tally.waits, 99) for each in measured), 1),
        f"{busy:.0%}",
        f"{median(each.others for each in measured):.0%}",
        f"{max(each.rss for each in measured) / MIB:.0f}",
    )


if __name__ == "__main__":
    run(requests=tables)
