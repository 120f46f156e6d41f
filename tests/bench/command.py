"""What the benchmarks have in common as commands."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from . import quiet, results
from .effort import Effort
from .machine import description
from .table import Table

Benchmark = Callable[[Effort], Awaitable[list[Table]]]


def run(**benchmarks: Benchmark) -> None:
    """Prints a Markdown table for each as soon as it is there; progress goes to stderr.

    A benchmark's name is that of its file of results.
    """
    module = sys.modules["__main__"]
    parser = argparse.ArgumentParser(
        prog=f"python -m {module.__spec__.name.removesuffix('.__main__')}",  # type: ignore[union-attr]
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=Effort().seconds,
        help="how long each figure is measured, all rounds together (default: %(default)g)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="as little as shows that it works: a second for each figure, and no waiting for "
        "other processes to be quiet",
    )
    parser.add_argument(
        "--save",
        metavar="DIRECTORY",
        type=Path,
        nargs="?",
        const=results.DIRECTORY,
        help=f"keep the results there, as JSON (default: {_here(results.DIRECTORY)})",
    )
    arguments = parser.parse_args()
    effort = Effort(1 if arguments.quick else arguments.seconds, arguments.quick)
    if effort.quick:
        quiet.impatient()
    try:
        failed = uvloop.run(_run(benchmarks, effort, arguments.save))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


async def _run(
    benchmarks: dict[str, Benchmark], effort: Effort, directory: Path | None
) -> list[str]:
    """The names of those that failed; of several, one must not cost the others' results."""
    # Ended by `timeout`, too, a benchmark leaves no server behind.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    machine = description()
    print("\n".join(f"- {name}: {text}" for name, text in machine.items()), flush=True)
    failed = []
    for name, benchmark in benchmarks.items():
        began = time.perf_counter()
        try:
            tables = await benchmark(effort)
        except Exception as error:
            if len(benchmarks) == 1:
                raise
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        for table in tables:
            print(f"\n{table.markdown()}", flush=True)
        print(f"{name} took {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if directory is not None:
            results.save(directory, name, machine, tables)
    return failed
