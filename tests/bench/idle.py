"""What open streams take in memory while nothing comes in them: the upstream is thinking."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack

from .command import run
from .effort import Effort
from .instant_upstream import instant_upstream
from .load import Client, Tally
from .servers import Server, serve, state
from .table import Figure, Table
from .usage import MIB, open_files, rss
from .ways import Way, configuration

STREAMS = 5000
QUICK_STREAMS = 500
_PER_CONNECTION = 500
"""Streams that share a gRPC connection; over HTTP each has its own."""
_AT_A_TIME = 100
"""Streams that are being opened."""
_PATIENCE = 120.0

_NOTE = (
    "`diglot serve` with an instant upstream, each stream after its first chunk. Opened in "
    f"{_AT_A_TIME}s; over gRPC {_PER_CONNECTION} to a connection. At rest: before the first "
    "request. Above rest counts what the allocator keeps from opening them, too."
)


async def tables(effort: Effort) -> list[Table]:
    open_files()
    streams = effort.count(STREAMS, QUICK_STREAMS)
    rows = []
    for over_http in (True, False):
        async with instant_upstream() as upstream, state() as here:
            file = configuration(here, upstream)
            async with serve(here, "--config", str(file)) as server:
                way = _way(server, here.key, over_http=over_http)
                print(f"idle: {streams} streams, {way.name}", file=sys.stderr)
                rows.append((way.name, *await _figures(way, streams)))
    columns = ("", "streams", "at rest, MiB", "above rest, MiB", "MiB per 1,000", "opened in, s")
    return [Table("Open idle streams", _NOTE, columns, tuple(rows))]


def _way(server: Server, key: str, *, over_http: bool) -> Way:
    address = server.http if over_http else server.grpc
    return Way("HTTP" if over_http else "gRPC", address, key, (server.process,), over_http)


async def _figures(way: Way, streams: int) -> tuple[str | Figure, ...]:
    at_rest = rss(way.processes)
    began = time.perf_counter()
    async with AsyncExitStack() as clients:
        asked: list[Client] = []
        for _ in range(1 if way.over_http else -(-streams // _PER_CONNECTION)):
            asked.append(way.client("idle", stream=True, apart=True))
            clients.push_async_callback(asked[-1].close)
        tallies = [Tally() for _ in range(streams)]
        asking: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(_PATIENCE):
                for number, tally in enumerate(tallies):
                    client = asked[number % len(asked)]
                    asking.append(asyncio.ensure_future(client.ask(tally, time.perf_counter())))
                    while number + 1 - sum(map(_begun, tallies[: number + 1])) >= _AT_A_TIME:
                        await _a_moment(asking)
                while not all(map(_begun, tallies)):
                    await _a_moment(asking)
            seconds = time.perf_counter() - began
            await asyncio.sleep(1)  # what was only for opening them is done with
            above = (rss(way.processes) - at_rest) / MIB
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
    return (
        f"{streams:,}",
        Figure((at_rest / MIB,)),
        Figure((above,)),
        Figure((1000 * above / streams,), 1),
        f"{seconds:.1f}",
    )


def _begun(tally: Tally) -> bool:
    return tally.chunks > 0


async def _a_moment(asking: list[asyncio.Task[None]]) -> None:
    """Raises if one that is to stay open has ended."""
    await asyncio.sleep(0.005)
    for task in asking:
        if task.done():
            raise RuntimeError(f"a stream ended: {task.exception()}")


if __name__ == "__main__":
    run(idle=tables)
