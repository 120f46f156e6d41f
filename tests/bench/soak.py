"""Diglot under everything at once, for as long as you like: does it leak, lose, or mix up?

    python -m tests.bench.soak --minutes 20

One `diglot serve` with two deployments of a model that fails as planned, the scripted model, the
embedded model at a low rate, and a store. Clients over both faces ask without a pause: whole and
streamed answers, tools, JSON, stored completions, requests that are malformed; some leave at any
moment, some read slowly, some upstreams fail, some deadlines pass; now and then the configuration
is read again. Every answer is held against the one that is right for its question.

Prints how it goes each minute and, at the end, how memory and file descriptors grew per hour.
Exits with 1 if an answer was lost or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from . import results
from .machine import description
from .servers import MODEL, Server, State, serve, state
from .soak_calls import KINDS, PLANNED, SCRIPTED, SLOW_PATIENCE, Tally, of_the_real_model
from .soak_clients import Clients
from .table import Figure, Points, Table
from .upstream_process import upstream_process
from .usage import MIB, rss

ASKERS = 12
REAL_EVERY = 2.0
RELOAD_EVERY = 15.0
WARM_UP = 0.25
"""The share of the time before growth is looked at, for caches and pools to fill."""
LATE = 0.5
"""Likewise, for those that fill slowly: what leaks grows as fast in this half."""
_SHOWN = 10
_DRAWN = (
    ("memory of Diglot's own process, MiB", "server"),
    ("file descriptors that it has open", "files"),
)


@dataclass(frozen=True)
class Sample:
    minutes: float
    server: float
    """MiB of Diglot's own process."""
    child: float
    """MiB of the model's."""
    files: int
    """Descriptors that Diglot's process has open."""
    threads: int


class Watch:
    """Looks at a server from outside."""

    def __init__(self, server: Server) -> None:
        self.samples: list[Sample] = []
        self._process = server.process
        self._began = time.perf_counter()

    def look(self) -> Sample:
        own = _own_rss(self._process)
        sample = Sample(
            minutes=(time.perf_counter() - self._began) / 60,
            server=own / MIB,
            child=(rss([self._process]) - own) / MIB,
            files=len(os.listdir(f"/proc/{self._process}/fd")),
            threads=len(os.listdir(f"/proc/{self._process}/task")),
        )
        self.samples.append(sample)
        return sample

    def line(self, name: str) -> Points:
        return [(sample.minutes, getattr(sample, name)) for sample in self.samples]

    def growth(self, name: str, after: float) -> float:
        """Per hour, by least squares over what followed this share of the time."""
        settled = [
            (sample.minutes / 60, float(getattr(sample, name)))
            for sample in self.samples
            if sample.minutes >= after * self.samples[-1].minutes
        ]
        hours, values = zip(*settled, strict=True)
        return statistics.linear_regression(hours, values).slope


def _own_rss(process: int) -> int:
    pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def configuration(here: State, *base_urls: str) -> tuple[str, str]:
    """Two that the server goes to and fro between."""
    deployments = "".join(
        f"""
        [[models.deployments]]
        kind = "upstream"
        base_url = "{url}"
        first_token_timeout_seconds = 5
        between_tokens_timeout_seconds = 5
        """
        for url in base_urls
    )
    text = f"""
        log.level = "info"
        [[models]]
        name = "{PLANNED}"
        {deployments}
        [[models]]
        kind = "scripted"
        name = "{SCRIPTED}"
        [[models]]
        kind = "embedded"
        name = "{MODEL}"
        parallel = 2
        context_tokens = 512
        """
    return text, text + '[[models]]\nkind = "scripted"\nname = "now-and-then"\n'


async def soak(minutes: float, seed: int) -> tuple[Tally, Watch]:
    random.seed(seed)
    tally = Tally()
    async with AsyncExitStack() as running:
        here = await running.enter_async_context(state(with_models=True))
        upstreams = [await running.enter_async_context(upstream_process()) for _ in range(2)]
        texts = configuration(here, *(upstream.base_url for upstream in upstreams))
        file = here.directory / "diglot.toml"
        file.write_text(texts[0])
        server = await running.enter_async_context(serve(here, "--config", str(file)))
        clients = await running.enter_async_context(Clients(server.http, server.grpc, here.key))
        await _warm(clients)
        watch = Watch(server)
        ends = time.perf_counter() + 60 * minutes

        async def asking() -> None:
            while time.perf_counter() < ends:
                [kind] = random.choices([*KINDS], [*KINDS.values()])
                await tally.count(kind.__name__, kind(clients))

        async def asking_the_real_one() -> None:
            while time.perf_counter() < ends:
                await tally.count("embedded", of_the_real_model(clients, MODEL), SLOW_PATIENCE)
                await asyncio.sleep(REAL_EVERY * random.random() * 2)

        async def reloading() -> None:
            turn = 0
            while True:
                await asyncio.sleep(RELOAD_EVERY)
                turn += 1
                file.write_text(texts[turn % 2])
                os.kill(server.process, signal.SIGHUP)
                for upstream in upstreams:
                    await upstream.forget()

        async def watching() -> None:
            told = 0
            while True:
                sample = watch.look()
                if sample.minutes >= told + 1:
                    told = int(sample.minutes)
                    _tell(sample, tally)
                await asyncio.sleep(min(5.0, minutes))

        beside = [asyncio.ensure_future(work()) for work in (reloading, watching)]
        await asyncio.gather(*(asking() for _ in range(ASKERS)), asking_the_real_one())
        for task in beside:
            task.cancel()
        [*failures] = await asyncio.gather(*beside, return_exceptions=True)
        for failure in failures:
            if not isinstance(failure, asyncio.CancelledError):
                raise RuntimeError("the soak itself failed") from failure
        # What is idle may go, what leaks stays.
        await asyncio.sleep(min(5.0, 5 * minutes))
        _tell(watch.look(), tally)
        for upstream in upstreams:
            for entry in (await upstream.ledger()).values():
                if not entry.ended and entry.gone is None:
                    tally.wrong.append(f"its caller has gone, and it goes on: {entry}")
        for line in (here.directory / "serve.log").read_text().splitlines():
            if "Traceback" in line or " ERROR " in line:
                tally.wrong.insert(0, f"in the log: {line}")
    return tally, watch


async def _warm(clients: Clients) -> None:
    """Returns once the real model answers."""
    while (await clients.ask(MODEL, "Hi", max_tokens=1)).error is not None:
        await asyncio.sleep(0.5)


def _tell(sample: Sample, tally: Tally) -> None:
    print(
        f"{sample.minutes:5.1f} min: {sum(tally.calls.values()):,} calls, "
        f"{len(tally.lost)} lost, {len(tally.wrong)} wrong, {sample.server:.1f} MiB "
        f"(model {sample.child:.0f}), {sample.files} files, {sample.threads} threads",
        file=sys.stderr,
        flush=True,
    )


def tables(tally: Tally, watch: Watch) -> list[Table]:
    first, last = watch.samples[0], watch.samples[-1]
    rows = tuple(
        (
            what,
            Figure((getattr(first, name),), digits),
            Figure((getattr(last, name),), digits),
            Figure((watch.growth(name, WARM_UP),), 2),
            Figure((watch.growth(name, LATE),), 2),
        )
        for what, name, digits in (
            ("Diglot's memory, MiB", "server", 1),
            ("the model's memory, MiB", "child", 1),
            ("file descriptors", "files", 0),
            ("threads", "threads", 0),
        )
    )
    note = (
        f"{last.minutes:.1f} minutes, {sum(tally.calls.values()):,} calls by {ASKERS} clients: "
        + ", ".join(f"{count:,} {name}" for name, count in sorted(tally.calls.items()))
        + f". Lost: {len(tally.lost)}. Wrong: {len(tally.wrong)}. Growth by least squares, without "
        f"the first {WARM_UP:.0%} of the time, and without the first {LATE:.0%}."
    )
    lines = {what: watch.line(name) for what, name in _DRAWN}
    columns = ("", "at first", "at last", "growth per hour", "in the last half")
    return [Table("Soak", note, columns, rows, lines)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--save", action="store_true", help="keep the results in tests/bench")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", file=sys.stderr, flush=True)
    tally, watch = uvloop.run(soak(arguments.minutes, arguments.seed))
    found = tables(tally, watch)
    for table in found:
        print(table.markdown())
    for what, all_of_them in (("lost", tally.lost), ("wrong", tally.wrong)):
        for one in all_of_them[:_SHOWN]:
            print(f"{what}: {one}")
    if arguments.save:
        results.save(results.DIRECTORY, "soak", description(), found)
    return 1 if tally.lost or tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
