"""What a way adds to the time that it takes past Diglot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .load import Tally, percentile
from .table import Cell, Figure, Points

Kind = Literal["waits", "firsts", "gaps"]
_PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)


@dataclass
class Times:
    """Of all rounds, one tally each."""

    rounds: list[Tally] = field(default_factory=list)

    def figures(
        self, kind: Kind, percents: Sequence[float], past: Times | None, digits: int = 2
    ) -> list[Cell]:
        """`kind` names the tally's times. What is added to those past Diglot follows them."""
        cells: list[Cell] = []
        for percent in percents:
            through = self._percentiles(kind, percent)
            cells.append(Figure(through, digits))
            if past is not None:
                direct = past._percentiles(kind, percent)
                added = tuple(t - d for t, d in zip(through, direct, strict=True))
                cells.append(Figure(added, digits) if self is not past else "–")
        return cells

    def distribution(self, kind: Kind) -> Points:
        """Percentiles in ms, by percent."""
        times = [each for tally in self.rounds for each in getattr(tally, kind)]
        return [(percent, percentile(times, percent)) for percent in _PERCENTS]

    def _percentiles(self, kind: Kind, percent: float) -> tuple[float, ...]:
        return tuple(percentile(getattr(tally, kind), percent) for tally in self.rounds)
