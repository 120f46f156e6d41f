"""The numbers themselves: what falls into which range."""

from __future__ import annotations

from diglot.service.telemetry.metrics import GAPS, Histogram


def test_a_bound_belongs_to_the_range_below_it() -> None:
    """As Prometheus' `le` has it."""
    histogram = Histogram((0.1, 0.5))
    for value in (0.1, 0.100001, 0.5, 7.0):
        histogram.observe(value)
    assert histogram.counts == [1, 2, 1]
    assert round(histogram.sum, 6) == 7.700001


def test_what_a_call_has_counted_is_added_at_its_end() -> None:
    histogram = Histogram(GAPS)
    histogram.observe(0.002)
    histogram.add({0: 3, len(GAPS): 1}, 20.5)
    assert sum(histogram.counts) == 5
    assert (histogram.counts[0], histogram.counts[1], histogram.counts[-1]) == (3, 1, 1)
    assert histogram.sum == 20.502
