"""How much a benchmark may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """`seconds` is for each figure, all rounds together. `quick` is for finding out whether
    everything works, and not for the figures."""

    seconds: float = 9
    quick: bool = False

    def count(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual
