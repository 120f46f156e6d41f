"""What the benchmarks have in common as commands."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from .machine import description
from .table import Table

Benchmark = Callable[[float], Awaitable[list[Table]]]


def run(*benchmarks: Benchmark) -> None:
    """Prints a Markdown table for each as soon as it is there; progress goes to stderr."""
    module = sys.modules["__main__"]
    parser = argparse.ArgumentParser(
        prog=f"python -m {module.__spec__.name.removesuffix('.__main__')}",  # type: ignore[union-attr]
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=9,
        help="how long each figure is measured, all rounds together (default: 9)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there, too")
    arguments = parser.parse_args()
    try:
        uvloop.run(_run(benchmarks, arguments.seconds, arguments.json))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


async def _run(benchmarks: tuple[Benchmark, ...], seconds: float, file: Path | None) -> None:
    # Ended by `timeout`, too, a benchmark leaves no server behind.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    machine = description()
    print("\n".join(f"- {name}: {text}" for name, text in machine.items()), flush=True)
    found: list[Table] = []
    for benchmark in benchmarks:
        for table in await benchmark(seconds):
            print(f"\n{table.markdown()}", flush=True)
            found.append(table)
    if file is not None:
        results = {"machine": machine, "tables": [table.json() for table in found]}
        file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
