"""Two revisions side by side: what each spends on a request, and on a chunk.

    python -m tests.bench.compare HEAD .                 what is not committed, against HEAD
    python -m tests.bench.compare ad230f7 HEAD           two of git's revisions
    python -m tests.bench.compare HEAD . --only unary    one figure alone; may be said again
    python -m tests.bench.compare HEAD . --bare          and a bare proxy beside them
    python -m tests.bench.compare HEAD HEAD --python PYTHON    two interpreters

Both are copied to a temporary directory, stubs and all, and run with the packages of this
environment; --python has the second one run by the interpreter of another, with its packages. Both
servers are up, and asked in turns, the first one first in every second round. CPU is that of the
server's process, user and system, by its own accounts; the client and the upstream are other
processes. What else the machine does adds to it and never takes away, so the least of the rounds
says the most; a ratio is that of two rounds beside each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from . import gateways, quiet, results
from .instant_upstream import InstantUpstream, instant_upstream
from .load import measure
from .machine import description
from .revision import laid_out
from .servers import serve, state
from .table import Figure, Table
from .ways import Way

ROUNDS = 5
SECONDS = 2.0
"""Of each round of each figure."""


@dataclass(frozen=True)
class Cost:
    """One figure."""

    what: str
    model: str
    over_http: bool
    askers: int
    stream: bool = True
    over: float = 0
    """Seconds over which the askers begin."""
    scripted: tuple[tuple[str, Any], ...] = ()
    keys: str = ""
    """Of the model's configuration, that not every revision knows."""


COSTS = {
    "unary": Cost("a request over HTTP", "unary", True, 16, stream=False),
    "burst": Cost("a chunk in bursts over HTTP", "burst", True, 16),
    "paced": Cost("a chunk every 20 ms over HTTP", "paced", True, 50, over=2),
    "grpc-unary": Cost("a request over gRPC", "unary", False, 16, stream=False),
    "grpc-burst": Cost("a chunk in bursts over gRPC", "burst", False, 16),
    "grpc-scripted": Cost(
        "a scripted chunk in bursts over gRPC",
        "scripted",
        False,
        16,
        scripted=(("scripted", {"tokens": 500}),),
    ),
    "grpc-paced": Cost("a chunk every 20 ms over gRPC", "paced", False, 50, over=2),
    "whole": Cost(
        "a request over HTTP, the upstream asked for the whole",
        "whole",
        True,
        16,
        stream=False,
        keys='unary = "whole"\n',
    ),
}
ALWAYS = [name for name, cost in COSTS.items() if not cost.keys]
"""What can be measured of every revision."""

_MODELS = '[[models]]\nkind = "scripted"\nname = "scripted"\n'
_MODEL = '[[models]]\nkind = "upstream"\nname = "{name}"\nbase_url = "{url}"\n{keys}'


@dataclass(frozen=True)
class Side:
    """A revision that serves, and the ways to it."""

    name: str
    http: Way
    grpc: Way | None = None

    def way(self, cost: Cost) -> Way | None:
        return self.http if cost.over_http else self.grpc


async def compared(
    revisions: Sequence[str],
    wanted: Sequence[str],
    rounds: int,
    seconds: float,
    *,
    bare: bool,
    python: str = sys.executable,
) -> Table:
    """`python` is the second one's interpreter."""
    pythons = (sys.executable, python)
    async with AsyncExitStack() as running:
        name = running.enter_context(tempfile.TemporaryDirectory(prefix="diglot-compare-"))
        upstream = await running.enter_async_context(instant_upstream())
        sides = []
        for place, (revision, runs) in enumerate(zip(revisions, pythons, strict=True)):
            print(f"compare: setting up {revision}", file=sys.stderr, flush=True)
            directory = Path(name, f"{place}")
            sides.append(await side(running, revision, directory, upstream, wanted, python=runs))
        if bare:
            sides.append(await _bare(running, upstream))
        rows = []
        for cost in (COSTS[each] for each in wanted):
            spent: list[list[float]] = [[] for _ in sides]
            others = []
            for number in range(rounds):
                for place in range(len(sides))[:: 1 if number % 2 == 0 else -1]:
                    if (way := sides[place].way(cost)) is not None:
                        found, busy = await _spent(way, cost, seconds)
                        spent[place].append(found)
                        others.append(busy)
                last = ", ".join(f"{each[-1]:.1f}" for each in spent if each)
                print(
                    f"compare: {cost.what}, round {number + 1} of {rounds}: {last} µs",
                    file=sys.stderr,
                    flush=True,
                )
            rows.append((cost.what, *_cells(spent, others)))
    first, second = (side.name for side in sides[:2])
    columns = (
        "CPU µs",
        *("A: least", "median (range)"),
        *("B: least", "median (range)"),
        *("B/A of the least", "B/A by round"),
        *(("bare proxy: least",) if bare else ()),
        "others",
    )
    note = f"A: {first}. B: {second}. {rounds} rounds of {seconds:g} s each, in turns."
    return Table("Side by side", note, columns, tuple(rows))


async def side(
    running: AsyncExitStack,
    revision: str,
    directory: Path,
    upstream: InstantUpstream,
    wanted: Sequence[str],
    under: tuple[str, ...] = (),
    python: str = sys.executable,
) -> Side:
    found = await laid_out(revision, directory)
    here = await running.enter_async_context(state(root=found.root, under=under, python=python))
    file = here.directory / "diglot.toml"
    models = {COSTS[each].model: COSTS[each].keys for each in wanted} | {"scripted": None}
    asked = [
        _MODEL.format(name=name, url=upstream.base_url(name), keys=keys)
        for name, keys in models.items()
        if keys is not None
    ]
    file.write_text("".join((_MODELS, *asked)))
    server = await running.enter_async_context(serve(here, "--config", str(file)))
    way = partial(Way, found.name, key=here.key, processes=(server.process,))
    named = found.name if python == sys.executable else f"{found.name}, {python}"
    return Side(named, way(address=server.http), way(address=server.grpc, over_http=False))


async def _bare(running: AsyncExitStack, upstream: InstantUpstream) -> Side:
    here = await running.enter_async_context(state())
    found = await running.enter_async_context(gateways.running(gateways.BARE, here, upstream))
    if found is None:
        raise RuntimeError("the bare proxy does not start")
    path = "/{model}/v1/chat/completions"
    return Side(found.name, Way(found.name, found.address, "", (found.process,), path=path))


async def _spent(way: Way, cost: Cost, seconds: float) -> tuple[float, float]:
    """CPU µs for one, and the share of the machine that others took."""
    client = way.client(cost.model, stream=cost.stream, **dict(cost.scripted))
    try:
        taken = await measure(
            client, way.processes, askers=cost.askers, seconds=seconds, over=cost.over
        )
    finally:
        await client.close()
    count = taken.tally.chunks if cost.stream else taken.tally.answers
    return 1e6 * taken.cpu / count, taken.others


def _cells(spent: list[list[float]], others: list[float]) -> tuple[str | Figure, ...]:
    first, second, *bare = spent
    digits = 0 if min(*first, *second) > 100 else 1
    a, b = ((Figure((min(each),), digits), Figure(tuple(each), digits)) for each in (first, second))
    least = Figure((min(second) / min(first),), 2)
    ratios = Figure(tuple(after / before for before, after in zip(first, second, strict=True)), 2)
    beside = [Figure((min(each),), digits) if each else "–" for each in bare]
    return *a, *b, least, ratios, *beside, f"{median(others):.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("revisions", metavar="REV", nargs=2, help="git's, or . for what is there")
    parser.add_argument("--only", action="append", choices=COSTS, help="(default: all but whole)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="(default: %(default)g)")
    parser.add_argument("--bare", action="store_true", help="a bare proxy, too, over HTTP")
    parser.add_argument(
        "--python", default=sys.executable, help="of the second one: PATH/.venv/bin/python"
    )
    parser.add_argument(
        "--save",
        metavar="DIRECTORY",
        type=Path,
        nargs="?",
        const=results.DIRECTORY,
        help="keep the result there, as JSON",
    )
    arguments = parser.parse_args()
    # What is compared is beside each other: that does for a busy machine, too.
    quiet.impatient()
    table = uvloop.run(
        compared(
            arguments.revisions,
            arguments.only or ALWAYS,
            arguments.rounds,
            arguments.seconds,
            bare=arguments.bare,
            python=arguments.python,
        )
    )
    print(table.markdown())
    if arguments.save is not None:
        results.save(arguments.save, "compare", description(), [table])


if __name__ == "__main__":
    main()
