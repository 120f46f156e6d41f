"""What Diglot adds to the time that an upstream takes.

The upstream is asked past Diglot and through it in turns, by questions
that come at a fixed rate whether or not the last ones have been answered. Added is the
difference of the percentiles.

- whole answers at a fixed rate;
- streams at half load: as many a second as take half a core of Diglot's busiest process;
- whole answers, as the rate grows until it is too much.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from .command import run
from .effort import Effort
from .instant_upstream import EVENTS, INTERVAL
from .load import Client, Tally, measure, percentile
from .open_load import ask_at
from .quiet import quiet
from .table import Points, Table
from .times import Times
from .usage import cpu_seconds
from .ways import DIRECT, Way, ways

ROUNDS = 3
STREAM_ROUNDS = 2
"""Of streams there are more: each takes as long as its model speaks."""
RATE = 200
"""Whole answers a second."""
_SLICES = 3
HALF = 0.5
_CALIBRATION = 20
"""Streams at a time, to find out what one costs."""
RATES = (100, 200, 400, 800, 1200, 1600, 2400, 3200)
_SHARE = 2 / 9
"""Of a figure's time, for each rate."""
_SLOW = 100
"""Milliseconds."""
_PATIENCE = 5.0
"""Seconds for what is still to be answered when a rate was too much."""

_WHOLE_NOTE = (
    f"{RATE} questions a second, evenly spread; times count from when a question was due. Added: "
    "the difference to the upstream asked past Diglot, in the same run, in turns. The client that "
    "speaks gRPC is in Python and takes longer than the one that speaks HTTP; that is included."
)
_STREAM_NOTE = (
    f"Streams of {EVENTS} chunks, one every {1000 * INTERVAL:.0f} ms, as many a second as take "
    "half a core of Diglot's busiest process; past Diglot at the same rate, in turns. Added: the "
    "difference of the percentiles."
)
_RATES_NOTE = "Whole answers of the instant upstream, in ms, as questions come more often."


async def tables(effort: Effort) -> list[Table]:
    async with ways() as all_ways:
        through, direct = all_ways.through, all_ways.direct
        wanted = (
            partial(_whole, through, None, "scripted", "scripted model", effort),
            partial(_whole, through, direct, "unary", "instant upstream", effort),
            partial(_streams, through, direct, effort),
            partial(_rates, (direct, *through), effort),
        )
        found = []
        for table in wanted:
            try:
                found.append(await table())
            except (RuntimeError, TimeoutError) as error:
                # The others have taken minutes.
                print(f"a table of latency is missing: {error!r}", file=sys.stderr)
        return found


async def in_turns(
    asked: Sequence[Way],
    model: str,
    rate: float,
    effort: Effort,
    *,
    stream: bool,
    rounds: int = ROUNDS,
    around: float = 0,
    slices: int = 1,
    **extra: Any,
) -> list[Times]:
    """Each way's, at the same rate. A round has so many slices of each; `around`: as in ask_at."""
    clients = [way.client(model, stream=stream, **extra) for way in asked]
    seconds = effort.seconds / ROUNDS / slices
    times = [Times() for _ in asked]
    try:
        for client in clients:  # connections, and code that runs for the first time
            await ask_at(client, rate, 0.3, Tally())
        for _ in range(rounds):
            await quiet()
            tallies = [Tally() for _ in asked]
            for _ in range(slices):
                for client, tally in zip(clients, tallies, strict=True):
                    await ask_at(client, rate, seconds, tally, around=around)
            for each, tally in zip(times, tallies, strict=True):
                each.rounds.append(tally)
    finally:
        for client in clients:
            await client.close()
    return times


async def _whole(
    through: tuple[Way, ...], direct: Way | None, model: str, name: str, effort: Effort
) -> Table:
    print(f"latency, {name}: {RATE} questions a second", file=sys.stderr)
    asked = through if direct is None else (direct, *through)
    times = await in_turns(asked, model, RATE, effort, stream=False, slices=_SLICES)
    past = None if direct is None else times[0]
    added = () if direct is None else ("added",)
    columns = (
        "way",
        "p50 ms",
        *(f"{a} p50" for a in added),
        "p99 ms",
        *(f"{a} p99" for a in added),
    )
    rows = [
        (way.name, *each.figures("waits", (50, 99), past))
        for way, each in zip(asked, times, strict=True)
    ]
    return Table(f"Time of whole answers, {name}", _WHOLE_NOTE, columns, tuple(rows))


async def _streams(through: tuple[Way, ...], direct: Way, effort: Effort) -> Table:
    rows = []
    lines: dict[str, Points] = {}
    for way in through:
        rate = await _half_load(way, effort)
        print(f"latency, streams: {rate:.0f} a second, {way.name}", file=sys.stderr)
        past, own = await in_turns(
            (direct, way),
            "paced",
            rate,
            effort,
            stream=True,
            rounds=STREAM_ROUNDS,
            around=0.3 if effort.quick else 1.5,
        )
        rows.append(
            (
                way.name,
                f"{rate:.0f}",
                *own.figures("firsts", (50, 99), past),
                *own.figures("gaps", (50, 99), past),
            )
        )
        lines[way.name] = own.distribution("gaps")
        lines[f"{DIRECT}: {way.name}"] = past.distribution("gaps")
    columns = (
        "way",
        "streams/s",
        *("first chunk p50 ms", "added p50", "first chunk p99 ms", "added p99"),
        *("gap p50 ms", "added gap p50", "gap p99 ms", "added gap p99"),
    )
    return Table("Streams at half load", _STREAM_NOTE, columns, tuple(rows), lines)


async def _half_load(way: Way, effort: Effort) -> float:
    """Streams a second."""
    client = way.client("paced", stream=True)
    lasting = EVENTS * INTERVAL
    try:
        before = [cpu_seconds([process]) for process in way.processes]
        # Long enough for each asker's second stream, so that none is half seen.
        taken = await measure(
            client, way.processes, askers=_CALIBRATION, seconds=2 * lasting, over=lasting
        )
        after = [cpu_seconds([process]) for process in way.processes]
    finally:
        await client.close()
    spent = [b - a for a, b in zip(before, after, strict=True)]
    busiest = taken.cpu * max(spent) / sum(spent)
    return HALF / (busiest / taken.tally.chunks * EVENTS)


async def _rates(asked: tuple[Way, ...], effort: Effort) -> Table:
    """Each way until it is too slow, or answers do not come."""
    rows: dict[int, dict[str, tuple[float, float]]] = {rate: {} for rate in RATES}
    for way in asked:
        client = way.client("unary", stream=False)
        try:
            await ask_at(client, RATE, 0.3, Tally())
            for rate in RATES:
                print(f"latency, {rate} questions a second: {way.name}", file=sys.stderr)
                # A moment's disturbance is not the end of what it can do.
                for _ in range(2):
                    if (found := await _at(client, rate, effort)) is not None:
                        rows[rate][way.name] = found
                        if found[0] < _SLOW:
                            break
                else:
                    break
        finally:
            await client.close()
    columns = ("questions/s", *(f"{way.name}, p50 (p99)" for way in asked))
    cells = [
        (f"{rate}", *(_pair(found.get(way.name)) for way in asked)) for rate, found in rows.items()
    ]
    lines = {
        f"{way.name}, {percent}": [
            (float(rate), found[way.name][index])
            for rate, found in rows.items()
            if way.name in found
        ]
        for way in asked
        for index, percent in enumerate(("p50", "p99"))
    }
    return Table("Time by rate", _RATES_NOTE, columns, tuple(cells), lines)


async def _at(client: Client, rate: int, effort: Effort) -> tuple[float, float] | None:
    """p50 and p99, in ms; None if answers do not come."""
    tally = Tally()
    try:
        await ask_at(client, rate, effort.seconds * _SHARE, tally, patience=_PATIENCE)
    except (RuntimeError, TimeoutError):
        return None
    return percentile(tally.waits, 50), percentile(tally.waits, 99)


def _pair(found: tuple[float, float] | None) -> str:
    return "–" if found is None else f"{found[0]:.1f} ({found[1]:.1f})"


if __name__ == "__main__":
    run(latency=tables)
