"""Results, as people and programs read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

Points = Sequence[tuple[float, float]]


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


Cell = str | Figure


@dataclass(frozen=True)
class Table:
    """What one benchmark found."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    lines: Mapping[str, Points] = field(default_factory=dict)
    """For the plots: what a table has no room for, by name."""

    def number(self, row: str, column: str) -> float | None:
        """The median of one cell, whose row begins so."""
        for cells in self.rows:
            if cells[0] == row:
                cell = cells[self.columns.index(column)]
                return cell.median if isinstance(cell, Figure) else None
        return None

    def markdown(self) -> str:
        heading = [f"### {self.title}", "", self.note, ""]
        dashes = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [self.columns, dashes, *([str(cell) for cell in row] for row in self.rows)]
        return "\n".join(heading + [_line(line) for line in lines])

    def json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "note": self.note,
            "columns": self.columns,
            "rows": [
                [asdict(cell) if isinstance(cell, Figure) else cell for cell in row]
                for row in self.rows
            ],
            "lines": {
                name: [(round(x, 4), round(y, 4)) for x, y in points]
                for name, points in self.lines.items()
            },
        }

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Table:
        return cls(
            found["title"],
            found["note"],
            tuple(found["columns"]),
            tuple(tuple(map(_cell, row)) for row in found["rows"]),
            {name: [(x, y) for x, y in points] for name, points in found["lines"].items()},
        )


def _cell(found: Any) -> Cell:
    return found if isinstance(found, str) else Figure(tuple(found["values"]), found["digits"])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
