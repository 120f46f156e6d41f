"""Several processes' metrics in one."""

from __future__ import annotations

from prometheus_client import generate_latest
from scrape import Scrape

from diglot.service.telemetry.exposition import registry
from diglot.service.telemetry.metrics import Metrics
from diglot.service.telemetry.totals import Totals


def said(ok: int = 0, in_flight: int = 0, gap: float | None = None) -> str:
    """What a process says that has had such calls."""
    metrics = Metrics()
    model = metrics.models["m"]
    model.outcomes["ok"] = ok
    model.in_flight = in_flight
    if gap is not None:
        model.gaps.observe(gap)
    return generate_latest(registry(metrics)).decode()


def read(totals: Totals, numbers: dict[object, int]) -> Scrape:
    return Scrape(generate_latest(totals.collector(numbers)).decode())


def test_counts_and_calls_in_flight_are_added_up() -> None:
    totals = Totals()
    totals.hear("a", said(ok=3, in_flight=1, gap=0.003))
    totals.hear("b", said(ok=4, in_flight=2, gap=0.3))
    seen = read(totals, {"a": 1, "b": 2})
    assert list(seen.series("diglot_requests_total")) == [({"model": "m", "outcome": "ok"}, 7)]
    assert list(seen.series("diglot_requests_in_flight")) == [({"model": "m"}, 3)]
    assert seen("diglot_chunk_gap_seconds_bucket", le="0.005") == 1
    assert seen("diglot_chunk_gap_seconds_bucket", le="+Inf") == 2
    assert seen("diglot_chunk_gap_seconds_sum") == 0.303


def test_what_a_process_says_again_replaces_what_it_said() -> None:
    totals = Totals()
    totals.hear("a", said(ok=3))
    totals.hear("a", said(ok=5))
    assert read(totals, {"a": 1})("diglot_requests_total") == 5


def test_counts_of_a_process_that_ended_stay_and_its_states_do_not() -> None:
    """A total that sinks would be taken for a new beginning, and counted a second time."""
    totals = Totals()
    totals.hear("a", said(ok=3, in_flight=1, gap=0.3))
    totals.hear("b", said(ok=4, in_flight=2))
    totals.bury("a")
    totals.hear("its successor", said(ok=1))
    seen = read(totals, {"its successor": 1, "b": 2})
    assert seen("diglot_requests_total", outcome="ok") == 8
    assert seen("diglot_chunk_gap_seconds_count") == 1
    assert seen("diglot_requests_in_flight") == 2
    totals.bury("b")
    totals.bury("its successor")
    totals.bury("one that never said anything")
    assert read(totals, {})("diglot_requests_total", outcome="ok") == 8


def test_what_is_true_of_one_process_has_its_number() -> None:
    totals = Totals()
    totals.hear("a", said())
    totals.hear("b", said())
    seen = read(totals, {"a": 1, "b": 2})
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "diglot_build_info"):
        assert {labels["worker"] for labels, _ in seen.series(name)} == {"1", "2"}, name
