"""Diglot beside other gateways, before the same upstream, which has its answer ready.

`python -m tests.bench.peer_packages` fetches the others; what is not there is left out.
nginx only passes bytes on: it is the floor.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

from . import wrk
from .command import run
from .effort import Effort
from .gateways import DIGLOT, GATEWAYS, STREAM, UNARY, Running, running
from .instant_upstream import EVENTS, instant_upstream
from .load import Tally, percentile
from .quiet import Others, quiet
from .servers import state
from .table import Cell, Figure, Table
from .usage import MIB, cpu_seconds, rss

ROUNDS = 3
ASKERS = 16
SLOW = 80
"""Answers a second. Of fewer, so many would be under way at the end that they would count: they
are asked for by number instead."""

_NOTE = (
    f"{ASKERS} requests in flight from wrk, in turns; for gateways that do less than {SLOW} a "
    "second from a client that waits for all that it asked. CPU is that of all processes of the "
    "gateway, user and system. Diglot checks keys and accounts for usage, the others do neither. "
    "The bare proxy passes bytes on, as nginx does, with aiohttp. Portkey's streams need a shim on "
    "this Node.js, or they are answered with 500. Others: what else was at work, of all cores."
)


@dataclass(frozen=True)
class _Taken:
    rate: float
    p50: float
    p99: float
    cpu: float
    """Seconds for each answer."""
    rss: int
    others: float


async def tables(effort: Effort) -> list[Table]:
    if not wrk.available():
        raise RuntimeError("there is no wrk here: apt-get install wrk")
    async with instant_upstream() as upstream, AsyncExitStack() as all_running:
        gateways = []
        for gateway in GATEWAYS:
            print(f"peers: starting {gateway.name}", file=sys.stderr)
            here = await all_running.enter_async_context(state())
            found = await all_running.enter_async_context(running(gateway, here, upstream))
            if found is not None:
                gateways.append(found)
        return [
            _table(gateways, UNARY, await _in_turns(gateways, UNARY, effort)),
            _table(gateways, STREAM, await _in_turns(gateways, STREAM, effort)),
        ]


async def _in_turns(gateways: list[Running], model: str, effort: Effort) -> dict[str, list[_Taken]]:
    """Of those that answer."""
    taken: dict[str, list[_Taken]] = {}
    seconds = effort.seconds / ROUNDS
    rates: list[tuple[Running, float]] = []
    for gateway in gateways:
        try:
            await _check(gateway, model)
            for _ in range(2):  # what runs for the first time is slow
                rate = (await _ask_all(gateway, model, ASKERS)).rate
            if rate > SLOW:
                await _ask_on(gateway, model, 2)
        except (RuntimeError, OSError) as error:
            _tell(error)
        else:
            rates.append((gateway, rate))
    rounds = effort.count(ROUNDS, 1)
    for number in range(rounds):
        for gateway, rate in rates:
            progress = f"peers, {model}, round {number + 1} of {rounds}: {gateway.name}"
            print(progress, file=sys.stderr, flush=True)
            await quiet()
            try:
                if rate > SLOW:
                    found = await _ask_on(gateway, model, seconds)
                else:
                    turns = max(2, round(seconds * rate / ASKERS))
                    found = await _ask_all(gateway, model, turns * ASKERS)
            except (RuntimeError, OSError) as error:
                _tell(error)
            else:
                taken.setdefault(gateway.name, []).append(found)
    return taken


def _tell(error: Exception) -> None:
    """One gateway that fails must not cost the others' figures."""
    print(f"left out: {error}", file=sys.stderr)


async def _check(gateway: Running, model: str) -> None:
    """It must be the whole answer that is measured."""
    client = gateway.client(model)
    try:
        await client.ask(tally := Tally(), time.perf_counter())
    finally:
        await client.close()
    if model == STREAM and tally.chunks < EVENTS - 2:
        raise RuntimeError(f"{gateway.name} streams {tally.chunks} of {EVENTS} events")


async def _ask_on(gateway: Running, model: str, seconds: float) -> _Taken:
    headers = {
        "Authorization": f"Bearer {gateway.key}",
        "Content-Type": "application/json",
        **gateway.headers,
    }
    url = f"http://{gateway.address}/v1/chat/completions"
    others, cpu = Others(), cpu_seconds([gateway.process])
    found = await wrk.ask_on(url, headers, gateway.body(model), askers=ASKERS, seconds=seconds)
    cpu = cpu_seconds([gateway.process]) - cpu
    if found.failed or not found.answers:
        raise RuntimeError(f"{gateway.name}: {found.failed} of {found.answers} failed")
    return _Taken(
        rate=found.answers / found.seconds,
        p50=found.p50,
        p99=found.p99,
        cpu=cpu / found.answers,
        rss=rss([gateway.process]),
        others=others.share,
    )


async def _ask_all(gateway: Running, model: str, answers: int) -> _Taken:
    """Asks so many, and waits for all of them."""
    client = gateway.client(model)
    tally = Tally()

    async def ask() -> None:
        for _ in range(answers // ASKERS):
            began = time.perf_counter()
            await client.ask(tally, began)
            tally.ended(began)

    others, cpu, began = Others(), cpu_seconds([gateway.process]), time.perf_counter()
    try:
        await asyncio.gather(*(ask() for _ in range(ASKERS)))
    finally:
        await client.close()
    return _Taken(
        rate=tally.answers / (time.perf_counter() - began),
        p50=percentile(tally.waits, 50),
        p99=percentile(tally.waits, 99),
        cpu=(cpu_seconds([gateway.process]) - cpu) / tally.answers,
        rss=rss([gateway.process]),
        others=others.share,
    )


def _table(gateways: list[Running], model: str, taken: dict[str, list[_Taken]]) -> Table:
    unary = model == UNARY
    one = "request" if unary else "stream"
    ours = next(gateway.name for gateway in gateways if gateway.gateway is DIGLOT)
    if ours not in taken:
        raise RuntimeError("Diglot itself was not measured")
    own = median(each.cpu for each in taken[ours])
    rows: list[tuple[Cell, ...]] = []
    for gateway in gateways:
        if (found := taken.get(gateway.name)) is None:
            continue
        ratio = median(each.cpu for each in found) / own
        chunk = [] if unary else [Figure(tuple(1e6 * each.cpu / EVENTS for each in found), 1)]
        rows.append(
            (
                gateway.name,
                Figure(tuple(each.rate for each in found)),
                Figure(tuple(each.p50 for each in found), 2),
                Figure(tuple(each.p99 for each in found), 2),
                Figure(tuple(1e6 * each.cpu for each in found)),
                *chunk,
                Figure((ratio,), 2),
                Figure((max(each.rss for each in found) / MIB,)),
                Figure((gateway.start,), 2),
                f"{median(each.others for each in found):.0%}",
            )
        )
    columns = (
        "gateway",
        f"{one}s/s",
        "p50 ms",
        "p99 ms",
        f"CPU µs/{one}",
        *(() if unary else ("CPU µs/chunk",)),
        "× Diglot's CPU",
        "RSS MiB",
        "cold start, s",
        "others",
    )
    title = "Peers, whole answers" if unary else f"Peers, streams of {EVENTS} chunks"
    return Table(title, _NOTE, columns, tuple(rows))


if __name__ == "__main__":
    run(peers=tables)
