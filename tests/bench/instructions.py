"""How many instructions a request takes, and a chunk: the same however busy the machine is.

    python -m tests.bench.instructions                    of what is there
    python -m tests.bench.instructions HEAD~5 .           and of git's revisions
    python -m tests.bench.instructions --only unary       one figure alone; may be said again

The server runs under valgrind (Debian: apt install valgrind), which counts, and makes it some fifty
times slower; one asker asks. Counted is what all of its threads do by themselves, and nothing of
the kernel's. What an instruction costs depends on what is in the caches, so this is no time: it
tells whether a change does less.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from .compare import ALWAYS, COSTS, Cost, Side, side
from .instant_upstream import instant_upstream
from .load import Client, Tally
from .revision import WORKING
from .table import Figure, Table

_QUESTIONS = {"unary": 100, "whole": 100, "burst": 10, "scripted": 10, "paced": 1}
_WARM_UP = 20


class _Counter:
    """What valgrind's callgrind has counted of one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._dumps = 0

    @property
    def command(self) -> tuple[str, ...]:
        """What runs the process. It counts nothing yet."""
        out = f"--callgrind-out-file={self._directory}/counts"
        return ("valgrind", "--tool=callgrind", "--instr-atstart=no", out)

    async def count(self, process: int, client: Client, askers: int, questions: int) -> Tally:
        """Counts while `askers` ask so many questions each; what they heard."""
        for _ in range(_WARM_UP if questions > 1 else 1):
            await client.ask(Tally(), 0.0)
        tally = Tally()
        await _control(process, "-i", "on")
        await _control(process, "-z")

        async def ask() -> None:
            for _ in range(questions):
                await client.ask(tally, 0.0)

        await asyncio.gather(*(ask() for _ in range(askers)))
        await _control(process, "-d")
        await _control(process, "-i", "off")
        return tally

    def total(self) -> int:
        """Of the last count."""
        self._dumps += 1
        dump = self._directory / f"counts.{self._dumps}"
        totals = [line for line in dump.read_text().splitlines() if line.startswith("totals: ")]
        return int(totals[-1].split()[1])


async def _control(process: int, *arguments: str) -> None:
    command = ("callgrind_control", *arguments, str(process))
    nowhere = asyncio.subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(*command, stdout=nowhere, stderr=nowhere)
    if await running.wait():
        raise RuntimeError(f"{' '.join(command)} failed")


async def counted(revisions: Sequence[str], wanted: Sequence[str]) -> Table:
    async with AsyncExitStack() as running:
        name = running.enter_context(tempfile.TemporaryDirectory(prefix="diglot-instructions-"))
        upstream = await running.enter_async_context(instant_upstream())
        columns, figures = [], []
        for place, revision in enumerate(revisions):
            print(f"instructions: {revision}", file=sys.stderr, flush=True)
            directory = Path(name, f"{place}")
            counter = _Counter(Path(name))
            async with AsyncExitStack() as serving:
                found = await side(serving, revision, directory, upstream, wanted, counter.command)
                figures.append([await _figure(found, COSTS[each], counter) for each in wanted])
            columns.append(found.name)
            for dump in Path(name).glob("counts*"):
                dump.unlink()
    rows: tuple[tuple[str | Figure, ...], ...] = tuple(
        (COSTS[each].what, *(found[place] for found in figures))
        for place, each in enumerate(wanted)
    )
    note = "Thousands of instructions, the requests' own with those of their chunks."
    return Table("Instructions", note, ("thousands of instructions", *columns), rows)


async def _figure(found: Side, cost: Cost, counter: _Counter) -> Figure:
    way = found.way(cost)
    assert way is not None
    client = way.client(cost.model, stream=cost.stream, **dict(cost.scripted))
    try:
        askers = 12 if cost.model == "paced" else 1
        questions = _QUESTIONS[cost.model]
        tally = await counter.count(way.processes[0], client, askers, questions)
    finally:
        await client.close()
    count = tally.chunks if cost.stream else askers * questions
    return Figure((counter.total() / count / 1000,), 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("revisions", metavar="REV", nargs="*", help="git's, or . for what is there")
    parser.add_argument("--only", action="append", choices=COSTS, help="(default: all but whole)")
    arguments = parser.parse_args()
    if shutil.which("callgrind_control") is None:
        parser.error("valgrind is not here; on Debian: apt install valgrind")
    wanted = arguments.only or ALWAYS
    print(uvloop.run(counted(arguments.revisions or [WORKING], wanted)).markdown())


if __name__ == "__main__":
    main()
