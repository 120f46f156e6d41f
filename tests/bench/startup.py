"""From the command to the first answer, and what the server takes in memory then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from .command import run
from .effort import Effort
from .http_load import HttpClient
from .load import Tally
from .quiet import quiet
from .servers import MODEL, State, serve, state
from .table import Figure, Table
from .usage import MIB, rss

ROUNDS = 5

_NOTE = (
    "`diglot serve`, from the start of its process until it says that it is ready, and until "
    "the first token has arrived over HTTP. Memory is that of all its processes, after that."
)
_CONFIGURATION = """
[[models]]
kind = "upstream"
name = "upstream"
base_url = "http://127.0.0.1:9/v1"  # nobody is there
"""


@dataclass(frozen=True)
class Start:
    """One way to start, and the model to ask; an upstream that is not there cannot answer."""

    name: str
    state: Callable[[], AbstractAsyncContextManager[State]]
    arguments: Callable[[State], tuple[str, ...]]
    model: str | None


def _upstream(here: State) -> tuple[str, ...]:
    file = here.directory / "diglot.toml"
    file.write_text(_CONFIGURATION)
    return "--config", str(file)


STARTS = (
    Start("scripted model", state, lambda _: ("--model", "scripted"), "scripted"),
    Start("upstream only", state, _upstream, None),
    Start("embedded model, on disk", lambda: state(with_models=True), lambda _: (), MODEL),
)


async def tables(effort: Effort) -> list[Table]:
    """A start takes what it takes, however many seconds there are."""
    rounds = effort.count(ROUNDS, 1)
    rows = [(start.name, *await _figures(start, rounds)) for start in STARTS]
    columns = ("", "ready, s", "first token, s", "RSS MiB")
    return [Table("Start", _NOTE, columns, tuple(rows))]


async def _figures(start: Start, rounds: int) -> tuple[str | Figure, ...]:
    ready, answered, memory = [], [], []
    async with start.state() as here:
        arguments = start.arguments(here)
        for number in range(rounds):
            print(f"startup, round {number + 1} of {rounds}: {start.name}", file=sys.stderr)
            await quiet()
            began = time.perf_counter()
            async with serve(here, *arguments) as server:
                ready.append(time.perf_counter() - began)
                if start.model is not None:
                    await _first_token(server.http, here.key, start.model)
                    answered.append(time.perf_counter() - began)
                memory.append(rss([server.process]) / MIB)
    first = Figure(tuple(answered), 2) if answered else "–"
    return Figure(tuple(ready), 2), first, Figure(tuple(memory))


async def _first_token(address: str, key: str, model: str) -> None:
    message = {"role": "user", "content": "What is the capital of France?"}
    body: dict[str, Any] = {"model": model, "messages": [message], "max_tokens": 1, "stream": True}
    client = HttpClient(address, key, body, keep_alive=False)
    await client.ask(Tally(), time.perf_counter())


if __name__ == "__main__":
    run(startup=tables)
