"""How soon the embedded model serves the next one when a caller leaves while it reads a prompt."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER

from .cancel_callers import GRPC, HTTP
from .effort import Effort
from .grpc_load import GrpcClient
from .http_load import HttpClient
from .load import Client, Tally, percentile
from .servers import MODEL, Server, State, serve, state
from .table import Cell, Figure, Table

CANCELS = 15
BUSY = "busy"
SPINNING = 2
"""Processes that do nothing but keep the processors from the model."""
_CONTEXT = 2048
_WORDS = 1800
_PATIENCE = 60.0

_NOTE = (
    f"One place. A prompt of {_WORDS} words is being read when its caller leaves; milliseconds "
    "until the next caller, who asks at that moment, has its one token, and what such a token "
    f"takes when nobody was there before. Busy: with {SPINNING} other processes that take what "
    "they can."
)

_numbers = count()


async def prefill_table(effort: Effort) -> Table:
    cancels = effort.count(CANCELS, 2)
    rows: list[tuple[Cell, ...]] = []
    async with state(with_models=True) as here:
        file = here.directory / "diglot.toml"
        file.write_text(
            f'[[models]]\nkind = "embedded"\nname = "{MODEL}"\n'
            f"parallel = 1\ncontext_tokens = {_CONTEXT}\n"
        )
        async with serve(here, "--config", str(file)) as server:
            await _one_token(server, here)
            for busy in (0, SPINNING):
                async with busy_with(busy):
                    for way in (HTTP, GRPC):
                        name = f"{way}; {BUSY}" if busy else way
                        took, alone = [], []
                        for number in range(cancels):
                            async with asyncio.timeout(_PATIENCE):
                                alone.append(await _one_token(server, here))
                                after = 0.2 + 0.03 * number
                                took.append(await _leave(server, here, way, after))
                            print(
                                f"cancel, in prefill: {name}: {took[-1]:.3f} s",
                                file=sys.stderr,
                                flush=True,
                            )
                        figures = (percentile(took, 50), percentile(took, 100))
                        of_one = percentile(alone, 50)
                        rows.append((name, *(Figure((each,)) for each in (*figures, of_one))))
    columns = ("how", "p50 ms", "longest ms", "a token alone, p50 ms")
    note = f"{_NOTE} {cancels} callers each."
    return Table("Cancel in the embedded model's prefill", note, columns, tuple(rows))


async def _leave(server: Server, here: State, way: str, after: float) -> float:
    """Seconds from leaving in the middle of a prompt to another one's token."""
    client = _reader(server, here, way)
    tally = Tally()
    reading = asyncio.ensure_future(client.ask(tally, time.perf_counter()))
    try:
        await asyncio.sleep(after)
        if reading.done() or tally.chunks:
            raise RuntimeError(f"the prompt was read within {after:.2f} s")
        left = time.perf_counter()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await _one_token(server, here)
        return time.perf_counter() - left
    finally:
        await client.close()


def _reader(server: Server, here: State, way: str) -> Client:
    content = f"{next(_numbers)}: " + "word " * _WORDS  # no cache knows its beginning
    if way == HTTP:
        return HttpClient(server.http, here.key, _body(content) | {"stream": True})
    request = CreateChatCompletionRequest(model=MODEL)
    request.messages.add(role=ROLE_USER, content=content)
    return GrpcClient(server.grpc, here.key, request, stream=True, apart=True)


async def _one_token(server: Server, here: State) -> float:
    """How long it takes."""
    client = HttpClient(server.http, here.key, _body(f"Hi {next(_numbers)}") | {"max_tokens": 1})
    began = time.perf_counter()
    try:
        await client.ask(Tally(), began)
    finally:
        await client.close()
    return time.perf_counter() - began


def _body(content: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]}


@asynccontextmanager
async def busy_with(processes: int) -> AsyncIterator[None]:
    """So many, that take what they can."""
    spinning = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
        for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            await process.wait()
