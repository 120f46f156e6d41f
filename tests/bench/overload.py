"""What is answered in time when more is asked than the model can do.

Questions come at up to ten times the rate that an upstream can answer, whether or not the last
ones have been answered. Each caller has two seconds, and says so. Goodput is what is answered
within them. The same without bounds, so that all of them wait in the upstream.

And what it costs to refuse.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from .command import run
from .effort import Effort
from .http_load import HttpClient, RefusedError
from .load import Tally, percentile
from .open_load import ask_at
from .quiet import quiet
from .servers import Server, State, serve, state
from .slotted_upstream import CAPACITY, SECONDS, SLOTS, slotted_upstream
from .table import Cell, Figure, Points, Table
from .usage import cpu_seconds, open_files

BOUNDED, UNBOUNDED, FULL = "bounded", "unbounded", "full"
LOADS = (0.5, 1, 2, 5, 10)
"""Of what the upstream can do."""
_REFUSALS = (400, 401, 503)
PATIENCE = 2.0
"""Seconds that a caller waits."""
REFUSALS = 400
"""A second, where all are refused."""
_SHARE, _COST_SHARE = 2 / 3, 0.5
"""Of a figure's time, for each load, and for what a refusal costs."""

_NOTE = (
    f"An upstream that does {SLOTS} answers at a time in {1000 * SECONDS:.0f} ms each, so "
    f"{CAPACITY:.0f} a second, behind `diglot serve`. Each caller waits for {PATIENCE:g} s; what "
    "comes later counts as late. Bounded: `max_running` is what the upstream does at a time, the "
    "rest as it is by default. Unbounded: Diglot passes everything on. Times are those of the "
    "answers in time, from when their question was due."
)
_COST_NOTE = (
    f"{REFUSALS} questions a second over HTTP, over connections that are kept, each refused: CPU "
    "of the server, and the time until the caller knows, the refusal logged."
)


@dataclass
class Outcomes:
    """What became of the questions of one run."""

    in_time: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    late: int = 0
    counted: Tally = field(default_factory=Tally)

    @property
    def asked(self) -> int:
        return len(self.in_time) + len(self.refusals) + self.late


class Caller:
    """Asks with a limited patience, and takes no for an answer."""

    def __init__(
        self, server: Server, key: str, model: str, outcomes: Outcomes, **extra: Any
    ) -> None:
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            **extra,
        }
        patience = {"X-Request-Timeout": f"{PATIENCE:g}"}
        self._http = HttpClient(server.http, key, body, headers=patience)
        self._outcomes = outcomes

    async def ask(self, tally: Tally, due: float) -> None:
        """Questions that count come with the tally of the outcomes."""
        outcomes = self._outcomes if tally is self._outcomes.counted else Outcomes()
        time = Tally()
        try:
            # The server is to be the first to give up.
            async with asyncio.timeout(2 * PATIENCE):
                await self._http.ask(time, due)
        except RefusedError as error:
            if error.status in _REFUSALS:
                outcomes.refusals.append(perf_counter() - due)
                return
        except (ConnectionError, TimeoutError):
            pass
        else:
            time.ended(due)
            if time.waits[0] <= PATIENCE:
                outcomes.in_time.append(time.waits[0])
                return
        outcomes.late += 1

    async def close(self) -> None:
        await self._http.close()


async def tables(effort: Effort) -> list[Table]:
    open_files()
    async with _server() as (here, server):
        found = {
            name: [await _offered(server, here, name, load, effort) for load in LOADS]
            for name in (BOUNDED, UNBOUNDED)
        }
        return [_goodput(found, effort.seconds * _SHARE), await _costs(server, here, effort)]


@asynccontextmanager
async def _server() -> AsyncIterator[tuple[State, Server]]:
    async with slotted_upstream() as first, slotted_upstream() as second, state() as here:
        config = here.directory / "diglot.toml"
        limits = {
            BOUNDED: (first, f"max_running = {SLOTS}"),
            UNBOUNDED: (second, "max_running = 1000000"),
            FULL: (first, "max_running = 1\nmax_queued = 0"),
        }
        config.write_text(
            "".join(
                f'[[models]]\nname = "{name}"\nkind = "upstream"\nbase_url = "{url}"\n{more}\n'
                for name, (url, more) in limits.items()
            )
        )
        async with serve(here, "--config", str(Path(config))) as server:
            yield here, server


async def _offered(
    server: Server, here: State, model: str, load: float, effort: Effort
) -> Outcomes:
    print(f"overload, {model}: {load:g} times what it can do", file=sys.stderr)
    await quiet()
    outcomes = Outcomes()
    caller = Caller(server, here.key, model, outcomes)
    try:
        # Before and after it as long, so that queues are as long as they get.
        around = 0.5 if effort.quick else 2 * PATIENCE
        seconds = effort.seconds * _SHARE
        await ask_at(caller, load * CAPACITY, seconds, outcomes.counted, around=around)
    finally:
        await caller.close()
    return outcomes


def _goodput(found: dict[str, list[Outcomes]], seconds: float) -> Table:
    columns = ("load", *(f"{name}: {what}" for name in found for what in _FIGURES))
    rows = []
    lines: dict[str, Points] = {
        name: [
            (load, len(each.in_time) / seconds) for load, each in zip(LOADS, outcomes, strict=True)
        ]
        for name, outcomes in found.items()
    }
    for place, load in enumerate(LOADS):
        cells = [cell for name in found for cell in _cells(found[name][place], seconds)]
        rows.append((f"{load:g} × ({load * CAPACITY:.0f}/s)", *cells))
    return Table("Goodput under overload", _NOTE, columns, tuple(rows), lines)


_FIGURES = ("in time/s", "refused", "late", "p50 ms", "p99 ms")


def _cells(outcomes: Outcomes, seconds: float) -> tuple[Cell, ...]:
    times = outcomes.in_time
    return (
        Figure((len(times) / seconds,)),
        f"{len(outcomes.refusals) / outcomes.asked:.0%}",
        f"{outcomes.late / outcomes.asked:.0%}",
        *(Figure((percentile(times, of),)) if times else "–" for of in (50, 99)),
    )


async def _costs(server: Server, here: State, effort: Effort) -> Table:
    wrong = here.key[:-1] + ("0" if here.key[-1] != "0" else "1")
    callers = {
        "503: the queue is full": partial(Caller, server, here.key, FULL),
        "401: the key is wrong": partial(Caller, server, wrong, BOUNDED),
        "400: a value is out of range": partial(Caller, server, here.key, BOUNDED, temperature=3),
    }
    rows = [(name, *await _cost(server, caller, effort)) for name, caller in callers.items()]
    columns = ("", "CPU µs each", "refused", "p50 ms", "p99 ms")
    return Table("What a refusal costs", _COST_NOTE, columns, tuple(rows))


async def _cost(
    server: Server, calling: Callable[[Outcomes], Caller], effort: Effort
) -> tuple[Cell, ...]:
    print(f"overload: {REFUSALS} refusals a second", file=sys.stderr)
    outcomes = Outcomes()
    caller = calling(outcomes)
    await quiet()
    try:
        await ask_at(caller, REFUSALS, 0.5, Tally())
        spent = cpu_seconds([server.process])
        # Now and then one finds the queue's place free, and takes it.
        await ask_at(caller, REFUSALS, effort.seconds * _COST_SHARE, outcomes.counted)
        spent = cpu_seconds([server.process]) - spent
    finally:
        await caller.close()
    return (
        Figure((1e6 * spent / outcomes.asked,)),
        f"{len(outcomes.refusals) / outcomes.asked:.0%}",
        *(Figure((percentile(outcomes.refusals, of),), 1) for of in (50, 99)),
    )


if __name__ == "__main__":
    run(overload=tables)
