"""How many requests may be sent a second time, so that an outage is not multiplied."""

from __future__ import annotations

import time
from collections.abc import Callable

RATIO = 0.2
"""Repetitions for each request, in the long run."""
PER_SECOND = 10.0
"""And so many besides: where requests are few, a fifth of them is none."""
SAVED = 100.0
"""The most that are saved up: what a crash may leave without an answer at once."""


class RetryBudget:
    """A bucket of tokens, full at the start; a repetition takes one out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens = SAVED
        self._at = clock()

    def earn(self) -> None:
        """A request has come."""
        self._tokens = min(SAVED, self._tokens + RATIO)

    def spend(self) -> bool:
        """Whether one may be repeated; counts it if so."""
        now = self._clock()
        self._tokens = min(SAVED, self._tokens + (now - self._at) * PER_SECOND)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
