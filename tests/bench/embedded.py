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

from diglot.service.embedded.child_settings import ChildSettings
from diglot.service.embedded.supervisor import LlamaChild

from .command import run
from .effort import Effort
from .http_load import HttpClient
from .load import Tally
from .quiet import LIMIT, Others, quiet
from .servers import MODEL, State, state
from .table import Figure, Table
from .times import Times
from .usage import cpu_seconds
from .ways import DIRECT, Way, three_ways

CLIENTS = (1, 8)
TOKENS = 128
CONTEXT = 1024
PAIRS = 6
ROUNDS = 3
_QUESTIONS = 4
"""In a round, to each way."""
_SHORT = 32
_PATIENCE = 8
"""So many times the time asked for is spent on having enough undisturbed pairs."""

_BODY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me the story of a lighthouse keeper."}],
    "max_tokens": TOKENS,
    "temperature": 0,
    "repeat_penalty": 1,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_NOTE = (
    f"{TOKENS} tokens to each client, streamed, temperature 0; {max(CLIENTS)} slots of {CONTEXT} "
    f"tokens. The ratio is the median of the pairs' own. Pairs in which others took more than "
    f"{LIMIT:.0%} of the machine are repeated, within reason: two threads that decode wait for "
    "each other, and one other busy process costs them most of their speed. Diglot's CPU is "
    "without the model's."
)
_TIMES_NOTE = (
    f"{_SHORT} tokens, one question at a time, streamed and whole, in turns past Diglot and "
    "through it. Added: the difference of the percentiles."
)


async def tables(effort: Effort) -> list[Table]:
    async with (
        state(with_models=True) as here,
        three_ways(here, "--config", str(_configuration(here))) as through,
        _llama(here) as direct,
    ):
        return [
            await _speed(through[0], direct, effort),
            await _times(through, direct, effort),
        ]


def _configuration(here: State) -> Path:
    file = here.directory / "diglot.toml"
    file.write_text(
        f'[[models]]\nkind = "embedded"\nname = "{MODEL}"\n'
        f"parallel = {max(CLIENTS)}\ncontext_tokens = {CONTEXT}\nthreads = {_threads()}\n"
    )
    return file


@asynccontextmanager
async def _llama(here: State) -> AsyncIterator[Way]:
    """The child alone. All that this process does for it is to empty its log, as Diglot does."""
    settings = ChildSettings(_model_file(here), CONTEXT, max(CLIENTS), _threads())
    child = LlamaChild(settings)
    await child.start()
    try:
        await child.readiness.wait()
        assert child.pid is not None
        yield Way(DIRECT, urlsplit(child.base_url).netloc, child.api_key, (child.pid,))
    finally:
        await child.close()


def _model_file(here: State) -> Path:
    (file,) = (here.directory / "models").glob("*.gguf")
    return file


def _threads() -> int:
    return len(os.sched_getaffinity(0))


async def _times(through: tuple[Way, ...], direct: Way, effort: Effort) -> Table:
    """One question at a time: what waits for another answer would be measured with the model."""
    asked = (direct, *through)
    times = [Times() for _ in asked]
    for number in range(effort.count(ROUNDS, 1)):
        await quiet()
        print(f"embedded, times: round {number + 1}", file=sys.stderr)
        tallies = [Tally() for _ in asked]
        for _ in range(_QUESTIONS):
            for way, tally in zip(asked, tallies, strict=True):
                await _ask(way, tally, stream=True)
                await _ask(way, whole := Tally(), stream=False)
                tally.waits[-1:] = whole.waits  # the whole answer’s
        for each, tally in zip(times, tallies, strict=True):
            each.rounds.append(tally)
    rows = [
        (
            way.name,
            *each.figures("firsts", (50,), times[0]),
            *each.figures("gaps", (50, 99), times[0]),
            *each.figures("waits", (50,), times[0], 1),
        )
        for way, each in zip(asked, times, strict=True)
    ]
    columns = (
        "way",
        *("first token p50 ms", "added first token"),
        *("gap p50 ms", "added gap p50", "gap p99 ms", "added gap p99"),
        *("whole answer p50 ms", "added to whole"),
    )
    return Table("Times of the embedded model", _TIMES_NOTE, columns, tuple(rows))


async def _ask(way: Way, tally: Tally, *, stream: bool) -> None:
    client = way.client(MODEL, stream=stream, max_tokens=_SHORT, ignore_eos=True)
    try:
        due = time.perf_counter()
        await client.ask(tally, due)
        tally.ended(due)
    finally:
        await client.close()


async def _speed(through: Way, direct: Way, effort: Effort) -> Table:
    # llama.cpp says keep-alive and closes all the same.
    ours, theirs = (
        HttpClient(way.address, way.key, _BODY, keep_alive=False) for way in (through, direct)
    )
    rows = [
        await _row(clients, ours, theirs, through, effort.seconds)
        for clients in (CLIENTS[:1] if effort.quick else CLIENTS)
    ]
    columns = (
        "clients",
        "Diglot, tokens/s",
        "llama.cpp, tokens/s",
        "ratio",
        "Diglot's CPU µs/token",
        "pairs",
        "others at most",
    )
    return Table("Embedded model", _NOTE, columns, tuple(rows))


@dataclass(frozen=True)
class _Pair:
    ours: float
    theirs: float
    others: float


async def _row(
    clients: int, ours: HttpClient, theirs: HttpClient, through: Way, seconds: float
) -> tuple[str | Figure, ...]:
    for warmed in (ours, theirs):
        await _tokens_per_second(warmed, clients)
    pairs: list[_Pair] = []
    spent = cpu_seconds(through.processes, descendants=False)
    undisturbed = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < _PATIENCE * seconds:
        if undisturbed >= PAIRS and elapsed > 2 * seconds:
            break
        pairs.append(await _pair(clients, ours, theirs, ours_first=len(pairs) % 2 == 0))
        undisturbed += pairs[-1].others < LIMIT
    spent = cpu_seconds(through.processes, descendants=False) - spent
    counted = sorted(pairs, key=lambda pair: pair.others)[: max(PAIRS, undisturbed)]
    return (
        str(clients),
        Figure(tuple(pair.ours for pair in counted), 1),
        Figure(tuple(pair.theirs for pair in counted), 1),
        Figure(tuple(pair.ours / pair.theirs for pair in counted), 3),
        Figure((1e6 * spent / (len(pairs) * clients * TOKENS),)),
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
    answers = await asyncio.gather(*(client.answer(Tally(), began) for _ in range(clients)))
    return sum(map(_tokens, answers)) / (time.perf_counter() - began)


def _tokens(answer: bytes) -> int:
    """By the server's own count, which must be what was asked for."""
    found = re.search(rb'"completion_tokens":(\d+)', answer)
    if found is None or int(found[1]) != TOKENS:
        raise RuntimeError(f"not {TOKENS} tokens: {answer!r}")
    return TOKENS


if __name__ == "__main__":
    run(embedded=tables)
