"""How soon it ends behind Diglot when a caller leaves.

The upstream, in a process of its own, notes when its connection closes; on one machine both read
the same monotonic clock. A caller who is still queued has never reached it: there it is the log's
line for the call that counts, which has whole milliseconds. One caller leaves at a time.

With the embedded model, what counts is its place: a prompt of some thousand tokens is being read
when its caller leaves, and another caller asks for one token at once. llama.cpp looks for who has
left between two batches, so what a batch holds decides; and how fast prompts are read, too.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from itertools import count

import aiohttp
import grpc
import openai

from diglot.v1.chat_pb2_grpc import ChatServiceStub

from .cancel_callers import GRPC, HTTP, SDK, Caller
from .cancel_prefill import prefill_table
from .command import run
from .effort import Effort
from .load import percentile
from .planned_upstream import HANG, Plan
from .servers import State, serve, state
from .table import Cell, Figure, Table
from .upstream_process import Books, upstream_process

CANCELS = 300
TOKENS = 3
QUEUED, BEFORE, BETWEEN = "queued", "before the first token", "between tokens"
_PATIENCE = 10.0
"""Seconds, after which it will never end."""

_names = (f"call-{number}" for number in count())


@asynccontextmanager
async def served() -> AsyncIterator[tuple[State, Caller, Books]]:
    async with AsyncExitStack() as running:
        here = await running.enter_async_context(state())
        books = await running.enter_async_context(upstream_process())
        file = here.directory / "diglot.toml"
        file.write_text(
            f'[[models]]\nname = "m"\nkind = "upstream"\nbase_url = "{books.base_url}"\n'
            f'max_running = 1\n[admin]\naddress = "{(admin := _free_address())}"\n'
        )
        server = await running.enter_async_context(serve(here, "--config", str(file)))
        channel = await running.enter_async_context(grpc.aio.insecure_channel(server.grpc))
        sdk = await running.enter_async_context(
            openai.AsyncOpenAI(
                base_url=f"http://{server.http}/v1",
                api_key=here.key,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(verify=False),
            )
        )
        metrics = await running.enter_async_context(aiohttp.ClientSession(f"http://{admin}"))
        yield here, Caller(server, here.key, sdk, ChatServiceStub(channel), metrics), books


async def seconds_until_closed(
    caller: Caller, books: Books, way: str, stream: bool, when: str
) -> float:
    """From leaving to the upstream's connection being closed."""
    plan = Plan(next(_names), tokens=TOKENS if when == BETWEEN else 0, then=HANG)
    heard = asyncio.Event()
    leave = await caller.ask(way, stream, plan, heard)
    await books.entry(plan.name, produced=plan.tokens)
    if when == BETWEEN and stream:
        await heard.wait()
    await asyncio.sleep(0.002)  # anywhere but at the moment of an event
    left = time.monotonic()
    await leave()
    entry = await books.entry(plan.name, over=True)
    assert entry.gone is not None
    return entry.gone - left


async def seconds_queued(
    here: State, caller: Caller, books: Books, way: str, stream: bool, cancels: int
) -> list[float]:
    """From leaving the queue to the line in the log, while another one has the only place."""
    holder, heard = Plan(next(_names), tokens=1, then=HANG), asyncio.Event()
    go = await caller.ask(HTTP, True, holder, heard)
    await heard.wait()
    left: dict[str, float] = {}
    for _ in range(cancels):
        plan = Plan(next(_names))
        async with asyncio.timeout(_PATIENCE):
            leave = await caller.ask(way, stream, plan, asyncio.Event())
            await caller.queued(1)
            left[plan.name] = time.time()
            await leave()
            # Or the next one would be taken for queued before it has come.
            await caller.queued(0)
    await go()
    await books.entry(holder.name, over=True)
    ended: dict[str, float] = {}
    async with asyncio.timeout(_PATIENCE):
        while not ended.keys() >= left.keys():
            await asyncio.sleep(0.1)
            ended = _ended(here)
    return [ended[name] - left[name] for name in left]


def _free_address() -> str:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{some.getsockname()[1]}"


def _ended(here: State) -> dict[str, float]:
    """When each call's line was written."""
    found = {}
    for line in (here.directory / "serve.log").read_text().splitlines():
        if " request_id=" in line:
            name = line.partition(" request_id=")[2].split()[0]
            found[name] = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f").timestamp()
    return found


async def tables(effort: Effort) -> list[Table]:
    return [await _upstream_table(effort), await prefill_table(effort)]


async def _upstream_table(effort: Effort) -> Table:
    cancels = effort.count(CANCELS, 10)
    rows: list[tuple[Cell, ...]] = []
    async with served() as (here, caller, books):
        for when in (QUEUED, BEFORE, BETWEEN):
            for way in (HTTP, GRPC, SDK):
                for stream in (False, True):
                    if when == QUEUED:
                        took = await seconds_queued(here, caller, books, way, stream, cancels)
                    else:
                        took = []
                        for _ in range(cancels):
                            async with asyncio.timeout(_PATIENCE):
                                took.append(
                                    await seconds_until_closed(caller, books, way, stream, when)
                                )
                    await books.forget()
                    name = f"{when}; {way}; {'streamed' if stream else 'whole'}"
                    p50, p99, longest = (percentile(took, percent) for percent in (50, 99, 100))
                    print(
                        f"cancel: {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms",
                        file=sys.stderr,
                        flush=True,
                    )
                    rows.append((name, *(Figure((each,), 1) for each in (p50, p99, longest))))
    note = f"{cancels} callers leave each way. Milliseconds until it has ended behind Diglot."
    columns = ("when; how; what", "p50 ms", "p99 ms", "longest ms")
    return Table("Cancel", note, columns, tuple(rows))


if __name__ == "__main__":
    run(cancel=tables)
