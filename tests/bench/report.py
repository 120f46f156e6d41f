"""The README's tables, from what was measured last and kept.

python -m tests.bench.report                 the aims, and what they came to
python -m tests.bench.report --all           and every table of every benchmark
python -m tests.bench.report --results DIR   of results kept elsewhere
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cancel_prefill import BUSY
from .instant_upstream import EVENTS
from .results import DIRECTORY, Results
from .table import Table
from .ways import GRPC, ONE_PROCESS

PEERS_WHOLE = "Peers, whole answers"
PEERS_STREAMS = f"Peers, streams of {EVENTS} chunks"


@dataclass(frozen=True)
class Aim:
    """A figure that was aimed at."""

    what: str
    measured: Callable[[Results], float | None]
    most: float | None = None
    least: float | None = None
    digits: int = 0

    def row(self, results: Results) -> tuple[str, str, str, str]:
        found = self.measured(results)
        if self.most is not None:
            aim, met = f"≤ {self.most:,g}", found is not None and found <= self.most
        else:
            assert self.least is not None
            aim, met = f"≥ {self.least:,g}", found is not None and found >= self.least
        if found is None:
            return self.what, aim, "not measured", ""
        return self.what, aim, f"{found:,.{self.digits}f}", "yes" if met else "no"


def _cell(name: str, title: str, row: str, column: str) -> Callable[[Results], float | None]:
    return lambda results: results.number(name, title, row, column)


def _times_ours(peer: str, title: str) -> Callable[[Results], float | None]:
    """How many times Diglot's CPU a peer takes."""

    def times(results: Results) -> float | None:
        table = results.table("peers", title)
        if table is None:
            return None
        full = (str(row[0]) for row in table.rows if str(row[0]).startswith(peer))
        name = next(full, None)
        return None if name is None else table.number(name, "× Diglot's CPU")

    return times


def _longest(name: str, title: str, column: str) -> Callable[[Results], float | None]:
    """That of the row where it is longest; on a machine that is not kept busy."""

    def longest(results: Results) -> float | None:
        table = results.table(name, title)
        if table is None:
            return None
        names = (str(row[0]) for row in table.rows)
        return max(table.number(name, column) or 0 for name in names if BUSY not in name)

    return longest


def _goodput(results: Results) -> float | None:
    """Per cent of the peak, at the highest load."""
    table = results.table("overload", "Goodput under overload")
    if table is None:
        return None
    rates = [rate for _, rate in table.lines["bounded"]]
    return 100 * rates[-1] / max(rates)


AIMS = (
    Aim(
        "CPU µs per unary request, instant upstream, one process",
        _cell("requests", "Unary requests, instant upstream", ONE_PROCESS, "CPU µs/request"),
        most=280,
    ),
    Aim(
        "CPU µs per chunk in bursts, upstream to HTTP client, one process",
        _cell("chunks", "Streamed chunks in bursts, instant upstream", ONE_PROCESS, "CPU µs/chunk"),
        most=9,
        digits=1,
    ),
    Aim(
        "CPU µs per chunk, one every 20 ms, upstream to HTTP client, one process",
        _cell("chunks", "Streamed chunks paced, instant upstream", ONE_PROCESS, "CPU µs/chunk"),
        most=60,
        digits=1,
    ),
    Aim(
        "direct gRPC streaming, chunks/s per core, scripted model",
        _cell("chunks", "Streamed chunks in bursts, scripted model", GRPC, "chunks/s per core"),
        least=35_000,
    ),
    Aim(
        "5,000 open idle streams, MiB above rest, HTTP",
        _cell("idle", "Open idle streams", "HTTP", "above rest, MiB"),
        most=300,
    ),
    Aim(
        "added to the first chunk at p50, half load, one process, ms",
        _cell("latency", "Streams at half load", ONE_PROCESS, "added p50"),
        most=1,
        digits=2,
    ),
    Aim(
        "from leaving to the upstream's call being closed, p99 of the slowest way, ms",
        _longest("cancel", "Cancel", "p99 ms"),
        most=50,
        digits=1,
    ),
    Aim(
        "from leaving the embedded model's prefill to the next one's token, longest, ms",
        _longest("cancel", "Cancel in the embedded model's prefill", "longest ms"),
        most=1000,
    ),
    Aim("answers in time at 10 times the load, % of the peak", _goodput, least=90),
    Aim(
        "LiteLLM's CPU per unary request, × Diglot's",
        _times_ours("LiteLLM", PEERS_WHOLE),
        least=40,
        digits=1,
    ),
    Aim(
        "LiteLLM's CPU per chunk, × Diglot's",
        _times_ours("LiteLLM", PEERS_STREAMS),
        least=40,
        digits=1,
    ),
    Aim(
        "Portkey's CPU per unary request, × Diglot's",
        _times_ours("Portkey", PEERS_WHOLE),
        least=4,
        digits=1,
    ),
    Aim(
        "Portkey's CPU per chunk, × Diglot's",
        _times_ours("Portkey", PEERS_STREAMS),
        least=4,
        digits=1,
    ),
)


def aims(results: Results) -> Table:
    rows = tuple(aim.row(results) for aim in AIMS)
    return Table("Aims", "Medians.", ("", "aim", "measured", "met"), rows)


def _machine(results: Results, name: str) -> str:
    machine = results.machine(name)
    return f"{machine['machine']}, {machine['system']}; {machine['date']}, {machine['commit']}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--all", action="store_true", help="every table, not the aims alone")
    parser.add_argument("--results", metavar="DIR", type=Path, default=DIRECTORY)
    arguments = parser.parse_args()
    results = Results(arguments.results)
    print(aims(results).markdown())
    for name in results.names:
        print(f"\n- `{name}`: {_machine(results, name)}")
        if arguments.all:
            for table in results.tables(name):
                print(f"\n{table.markdown()}")


if __name__ == "__main__":
    main()
