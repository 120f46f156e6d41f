"""Results, as people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One quantity, measured several times."""

    values: tuple[float, ...]
    digits: int = 0

    @property
    def median(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        """The median, and from where to where the values went."""
        if len(self.values) == 1:
            return self._spelt(self.median)
        low, high = self._spelt(min(self.values)), self._spelt(max(self.values))
        return f"{self._spelt(self.median)} ({low}–{high})"

    def _spelt(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"


@dataclass(frozen=True)
class Table:
    """What one benchmark found."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Figure, ...], ...]

    def markdown(self) -> str:
        heading = [f"### {self.title}", "", self.note, ""]
        dashes = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [self.columns, dashes, *([str(cell) for cell in row] for row in self.rows)]
        return "\n".join(heading + [_line(line) for line in lines])

    def json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "note": self.note,
            "rows": [
                {
                    column: asdict(cell) | {"median": cell.median}
                    if isinstance(cell, Figure)
                    else cell
                    for column, cell in zip(self.columns, row, strict=True)
                }
                for row in self.rows
            ],
        }


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
