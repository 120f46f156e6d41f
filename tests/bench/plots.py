"""Plots of what was measured last and kept, for the README. Needs `pip install 'diglot[bench]'`.

    python -m tests.bench.plots                 into tests/bench/plots
    python -m tests.bench.plots --results DIR --into DIR

Their background is transparent, and their colours can be read on white and on black. What was not
measured is not drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from .report import PEERS_STREAMS, PEERS_WHOLE
from .results import DIRECTORY, Results
from .table import Points
from .ways import APART, DIRECT, GRPC, ONE_PROCESS

PLOTS = DIRECTORY.parent / "plots"

_INK = "#808080"
"""Readable on white and on black."""
_OURS = "#e8743b"
_COLOURS = {
    DIRECT: "#808080",
    ONE_PROCESS: _OURS,
    APART: "#5b9bd5",
    GRPC: "#3aa76d",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "diglot",  # the same data, the same file
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "grid.alpha": 0.3,
}


def peers(results: Results) -> Canvas | None:
    """CPU of whole answers and of streams, side by side."""
    tables = [results.table("peers", title) for title in (PEERS_WHOLE, PEERS_STREAMS)]
    if None in tables:
        return None
    canvas = Canvas((8, 2.6), layout="constrained")
    for axes, table, what in zip(canvas.subplots(1, 2), tables, ("request", "stream"), strict=True):
        assert table is not None
        column = f"CPU µs/{what}"
        rows = sorted(table.rows, key=lambda row: -(table.number(str(row[0]), column) or 0))
        names = [str(row[0]) for row in rows]
        values = [table.number(name, column) or 0 for name in names]
        colours = [_OURS if name.startswith("Diglot") else _INK for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
        axes.set_xscale("log")
        axes.set_xlim(right=6 * max(values))
        axes.set_title(table.title)
        axes.set_xlabel(f"{column}, logarithmic")
    return canvas


def rates(results: Results) -> Canvas | None:
    """The time of an answer, as questions come more often."""
    table = results.table("latency", "Time by rate")
    if table is None:
        return None
    canvas = Canvas((8, 3.2), layout="constrained")
    axes = canvas.subplots()
    for name, points in table.lines.items():
        way, _, percent = name.rpartition(", ")
        style = "-" if percent == "p50" else ":"
        _line(axes, points, f"{_plain(way)}, {percent}", style, _COLOURS.get(way, _INK), "o")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title("Time of whole answers, instant upstream")
    _ticks(axes, sorted({x for points in table.lines.values() for x, _ in points}))
    axes.tick_params(axis="x", labelrotation=45)
    axes.set_xlabel("questions a second")
    axes.set_ylabel("ms")
    _legend(axes)
    return canvas


def gaps(results: Results) -> Canvas | None:
    """How the gaps between chunks are spread."""
    table = results.table("latency", "Streams at half load")
    if table is None:
        return None
    ways = [name for name in table.lines if not name.startswith(DIRECT)]
    canvas = Canvas((8, 2.8), layout="constrained")
    for axes, way in zip(canvas.subplots(1, len(ways), sharey=True), ways, strict=True):
        past = table.lines[f"{DIRECT}: {way}"]
        _line(axes, _turned(past), DIRECT, "-", _INK, None)
        _line(axes, _turned(table.lines[way]), "through it", "-", _COLOURS.get(way, _OURS), None)
        axes.set_title(_plain(way))
        axes.set_xlabel("gap between chunks, ms")
        axes.grid(True)
        axes.legend(loc="lower right")
    canvas.axes[0].set_ylabel("% of gaps at most so long")
    return canvas


def overload(results: Results) -> Canvas | None:
    """What is answered in time, as more is asked."""
    table = results.table("overload", "Goodput under overload")
    if table is None:
        return None
    canvas = Canvas((8, 2.8), layout="constrained")
    axes = canvas.subplots()
    for (name, points), colour in zip(table.lines.items(), (_OURS, _INK), strict=False):
        _line(axes, points, name, "-", colour, "o")
    axes.set_title(table.title)
    axes.set_xscale("log")
    _ticks(axes, [x for x, _ in next(iter(table.lines.values()))])
    axes.set_xlabel("asked, × what the upstream can do")
    axes.set_ylabel("answers in time, 1/s")
    axes.set_ylim(bottom=0)
    _legend(axes)
    return canvas


def soak(results: Results) -> Canvas | None:
    """What a server uses, minute by minute: a picture for each line."""
    tables = [table for table in results.tables("soak") if table.lines]
    if not tables:
        return None
    lines = [(name, points) for table in tables for name, points in table.lines.items()]
    canvas = Canvas((8, 2.2 * len(lines)), layout="constrained")
    for axes, (name, points) in zip(
        canvas.subplots(len(lines), 1, squeeze=False)[:, 0], lines, strict=True
    ):
        _line(axes, points, name, "-", _OURS, None)
        axes.set_title(name)
        axes.set_ylim(bottom=0)
        axes.grid(True)
    canvas.axes[-1].set_xlabel("minutes")
    return canvas


PICTURES: dict[str, Callable[[Results], Canvas | None]] = {
    "peers": peers,
    "latency": rates,
    "gaps": gaps,
    "overload": overload,
    "soak": soak,
}
_SOURCES = {"gaps": "latency"}


def _line(
    axes: Any, points: Points, label: str, style: str, colour: str, marker: str | None
) -> None:
    x, y = [[point[index] for point in points] for index in (0, 1)]
    axes.plot(x, y, style, label=label, color=colour, marker=marker, markersize=3)


def _turned(points: Points) -> Points:
    return [(y, x) for x, y in points]


def _ticks(axes: Any, values: Iterable[float]) -> None:
    places = list(values)
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
    axes.grid(True)


def _legend(axes: Any) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _plain(way: str) -> str:
    """Markdown's marks mean nothing here."""
    return way.replace("`", "")


def draw(results: Results, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        with mpl.rc_context(_STYLE):
            canvas = picture(results)
            if canvas is None:
                print(f"{name}: not measured", file=sys.stderr)
                continue
            machine = results.machine(_SOURCES.get(name, name))
            canvas.supxlabel(
                f"{machine['machine']}; {machine['date']}", fontsize=7, x=0.99, ha="right"
            )
            file = into / f"{name}.svg"
            canvas.savefig(file, transparent=True, metadata={"Date": None})
        print(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.plots",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", metavar="DIR", type=Path, default=DIRECTORY)
    parser.add_argument("--into", metavar="DIR", type=Path, default=PLOTS)
    arguments = parser.parse_args()
    draw(Results(arguments.results), arguments.into)


if __name__ == "__main__":
    main()
