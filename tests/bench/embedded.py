"""The embedded model through Diglot's HTTP, beside llama.cpp's own HTTP port.

Both are the same program with the same settings, Diglot's child and one that nobody stands
in front of. Only one of them is busy at a time, each of a pair of runs beside the other in
time, and every second pair in the other order: what the machine does meanwhile, it does to both.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from diglot.service.embedded.supervisor import ChildSettings, LlamaChild

from .command import run
from .http_load import HttpClient
from .load import Tally
from .quiet import LIMIT, Others, quiet
from .servers import MODEL, State, serve, state
from .table import Figure, Table

CLIENTS = (1, 8)
TOKENS = 128
CONTEXT = 1024
PAIRS = 6
_PATIENCE = 20
"""So many times the time asked for is spent on having enough undisturbed pairs."""

_BODY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me the story of a lighthouse keeper."}],
    "max_tokens": TOKENS,
    "temperature": 0,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_NOTE = (
    f"{TOKENS} tokens to each client, streamed, temperature 0; {max(CLIENTS)} slots of {CONTEXT} "
    f"tokens. The ratio is the median of the pairs' own. Pairs in which others took more than "
    f"{LIMIT:.0%} of the machine are repeated, within reason: two threads that decode wait for "
    "each other, and one other busy process costs them most of their speed."
)


async def tables(seconds: float) -> list[Table]:
    async with state(with_models=True) as here, _diglot(here) as ours, _llama(here) as theirs:
        rows = [await _row(clients, ours, theirs, seconds) for clients in CLIENTS]
    columns = (
        "clients",
        "Diglot, tokens/s",
        "llama.cpp, tokens/s",
        "ratio",
        "pairs",
        "others at most",
    )
    return [Table("Embedded model", _NOTE, columns, tuple(rows))]


@asynccontextmanager
async def _diglot(here: State) -> AsyncIterator[HttpClient]:
    file = here.directory / "diglot.toml"
    file.write_text(
        f'[[models]]\nkind = "embedded"\nname = "{MODEL}"\n'
        f"parallel = {max(CLIENTS)}\ncontext_tokens = {CONTEXT}\nthreads = {_threads()}\n"
    )
    async with serve(here, "--config", str(file)) as server:
        yield HttpClient(server.http, here.key, _BODY, keep_alive=False)


@asynccontextmanager
async def _llama(here: State) -> AsyncIterator[HttpClient]:
    """The child alone. All that this process does for it is to empty its log, as Diglot does."""
    settings = ChildSettings(_model_file(here), CONTEXT, max(CLIENTS), _threads())
    child = LlamaChild(settings)
    await child.start()
    try:
        await child.readiness.wait()
        # It says keep-alive and closes all the same.
        yield HttpClient(urlsplit(child.base_url).netloc, child.api_key, _BODY, keep_alive=False)
    finally:
        await child.close()


def _model_file(here: State) -> Path:
    (file,) = (here.directory / "models").glob("*.gguf")
    return file


def _threads() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class _Pair:
    ours: float
    theirs: float
    others: float


async def _row(
    clients: int, ours: HttpClient, theirs: HttpClient, seconds: float
) -> tuple[str | Figure, ...]:
    for warmed in (ours, theirs):
        await _tokens_per_second(warmed, clients)
    pairs: list[_Pair] = []
    undisturbed = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < _PATIENCE * seconds:
        if undisturbed >= PAIRS and elapsed > 2 * seconds:
            break
        pairs.append(await _pair(clients, ours, theirs, ours_first=len(pairs) % 2 == 0))
        undisturbed += pairs[-1].others < LIMIT
    counted = sorted(pairs, key=lambda pair: pair.others)[: max(PAIRS, undisturbed)]
    return (
        str(clients),
        Figure(tuple(pair.ours for pair in counted), 1),
        Figure(tuple(pair.theirs for pair in counted), 1),
        Figure(tuple(pair.ours / pair.theirs for pair in counted), 3),
        f"{len(counted)} of {len(pairs)}",
        f"{max(pair.others for pair in counted):.0%}",
    )


async def _pair(clients: int, ours: HttpClient, theirs: HttpClient, *, ours_first: bool) -> _Pair:
    await quiet()
    others = Others()
    rates = {}
    for client in (ours, theirs) if ours_first else (theirs, ours):
        rates[client] = await _tokens_per_second(client, clients)
    pair = _Pair(rates[ours], rates[theirs], others.share)
    print(
        f"embedded, {clients} clients: {pair.ours:.1f} and {pair.theirs:.1f} tokens/s, "
        f"others {pair.others:.0%}",
        file=sys.stderr,
    )
    return pair


async def _tokens_per_second(client: HttpClient, clients: int) -> float:
    began = time.perf_counter()
    answers = await asyncio.gather(*(client.answer(Tally()) for _ in range(clients)))
    return sum(map(_tokens, answers)) / (time.perf_counter() - began)


def _tokens(answer: bytes) -> int:
    """By the server's own count, which must be what was asked for."""
    found = re.search(rb'"completion_tokens":(\d+)', answer)
    if found is None or int(found[1]) != TOKENS:
        raise RuntimeError(f"not {TOKENS} tokens: {answer!r}")
    return TOKENS


if __name__ == "__main__":
    run(tables)
