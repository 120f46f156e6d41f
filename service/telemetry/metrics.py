"""The numbers that a process keeps of its calls.

Plain numbers in plain objects: a library's counters cost a microsecond or more each, and a call
changes a dozen. exposition.py hands them to Prometheus when it asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""For what takes as long as an answer, or as its beginning."""
GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, for the pauses within an answer."""

NO_MODEL = ""
"""In place of a model's name, for calls that named none there is. What callers write is no label:
they could make as many series as they like."""


class Histogram:
    """How often a value was in which range: `counts[i]` are those up to `bounds[i]`, and above the
    bound before; the last one has no bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, counts: Mapping[int, int], total: float) -> None:
        """Many observations at once, by their place in `counts`; `total` is their sum."""
        for at, count in counts.items():
            self.counts[at] += count
        self.sum += total


class ModelMetrics:
    """The numbers of one model."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        """Calls that have ended, by what came of them: "ok", "cancelled", or an error's reason."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        """Those of the prompt's that an engine's cache had."""
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        """Those of the completion's that are thoughts."""
        self.first_chunk = Histogram(SECONDS)
        self.gaps = Histogram(GAPS)
        self.duration = Histogram(SECONDS)
        """Of answers that came to their end."""
        self.queue = Histogram(SECONDS)
        """Of calls that got their place."""
        self.in_flight = 0


class Metrics:
    """The numbers of one process. Belongs to one event loop."""

    def __init__(self) -> None:
        self.models: defaultdict[str, ModelMetrics] = defaultdict(ModelMetrics)
        """By the name that the configuration has, or NO_MODEL."""
        self.stored: Counter[str] = Counter()
        """Completions that were to be stored: "ok" or "failed"."""
        self.http: Counter[tuple[str, str, str]] = Counter()
        """Requests of the HTTP face by method, route and status."""

    @property
    def ended(self) -> int:
        """Calls and requests that are counted. Nothing else is, but when one of them ends."""
        return self.http.total() + sum(each.outcomes.total() for each in self.models.values())
