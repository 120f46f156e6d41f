"""The metrics in Prometheus' words. What is a state, not a count, is looked up when it asks.

    name                                      labels
    diglot_requests_total                     model, outcome        calls that have ended
    diglot_requests_in_flight                 model                 and those that have not
    diglot_requests_running                   model                 places that are taken
    diglot_requests_queued                    model                 calls that wait for one
    diglot_request_duration_seconds           model                 histogram: to the answer's end
    diglot_request_queue_seconds              model                 histogram: until it had a place
    diglot_first_chunk_seconds                model                 histogram: to its beginning
    diglot_chunk_gap_seconds                  model                 histogram: between two chunks
    diglot_tokens_total                       model, kind           prompt, cached, completion, …
    diglot_model_ready                        model                 whether it can answer
    diglot_deployment_ready                   model, deployment     likewise
    diglot_deployment_circuit_open            model, deployment     whether it is left out
    diglot_deployment_requests_in_flight      model, deployment     those that routing sent
    diglot_deployment_requests_total          model, deployment     likewise
    diglot_deployment_failures_total          model, deployment, reason
    diglot_store_writes_total                 outcome               completions to be stored
    diglot_http_requests_total                method, route, status
    diglot_log_lines_dropped_total                                  which nobody read
    diglot_build_info                         version
    process_…                                                       of Prometheus' own client

`model` is the name that the configuration has, whatever alias was asked for, and empty where the
call named none there is. `outcome` is ok, cancelled, or the error's reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ..logs import dropped_lines
from ..models import Models
from ..routing import Deployment
from .metrics import Histogram, Metrics, ModelMetrics

Deployments = Callable[[], Iterable[tuple[str, Deployment, bool]]]
"""The model's name, the deployment, and whether routing counts what comes to it."""


def registry(
    metrics: Metrics, models: Models | None = None, deployments: Deployments | None = None
) -> CollectorRegistry:
    """What one process has to tell."""
    whole = CollectorRegistry()
    whole.register(_Calls(metrics))
    if models is not None:
        whole.register(_States(models, deployments or tuple))
    ProcessCollector(registry=whole)
    return whole


class _Calls(Collector):
    """What was counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._version = version("diglot")

    def collect(self) -> Iterator[Metric]:
        build = InfoMetricFamily("diglot_build", "The version that runs.")
        build.add_metric((), {"version": self._version})
        yield build
        models = self._metrics.models
        yield from _outcomes(models)
        for name, text, of in _HISTOGRAMS:
            family = HistogramMetricFamily(name, text, labels=["model"])
            for model, each in models.items():
                if model:
                    family.add_metric([model], *_cumulated(of(each)))
            yield family
        stored = CounterMetricFamily(
            "diglot_store_writes", "Completions that were to be stored.", labels=["outcome"]
        )
        for outcome, count in self._metrics.stored.items():
            stored.add_metric([outcome], count)
        yield stored
        http = CounterMetricFamily(
            "diglot_http_requests",
            "Requests of the HTTP face that have been answered.",
            labels=["method", "route", "status"],
        )
        for labels, count in self._metrics.http.items():
            http.add_metric(labels, count)
        yield http
        yield CounterMetricFamily(
            "diglot_log_lines_dropped",
            "Lines of the log that were dropped, as nobody read them.",
            dropped_lines(),
        )


def _outcomes(models: dict[str, ModelMetrics]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "diglot_requests",
        "Calls that have ended, by what came of them.",
        labels=["model", "outcome"],
    )
    in_flight = GaugeMetricFamily(
        "diglot_requests_in_flight",
        "Calls that have not ended, queued ones included.",
        labels=["model"],
    )
    tokens = CounterMetricFamily(
        "diglot_tokens",
        "Tokens: of prompts, of them from a cache; of completions, of them thoughts.",
        labels=["model", "kind"],
    )
    for model, each in models.items():
        for outcome, count in each.outcomes.items():
            requests.add_metric([model, outcome], count)
        if model:
            in_flight.add_metric([model], each.in_flight)
            for kind in ("prompt", "cached", "completion", "reasoning"):
                tokens.add_metric([model, kind], getattr(each, f"{kind}_tokens"))
    yield requests
    yield in_flight
    yield tokens


_HISTOGRAMS: tuple[tuple[str, str, Callable[[ModelMetrics], Histogram]], ...] = (
    (
        "diglot_request_duration_seconds",
        "From the call's beginning to the end of its answer, where it came to that.",
        lambda each: each.duration,
    ),
    ("diglot_request_queue_seconds", "Until the call had its place.", lambda each: each.queue),
    (
        "diglot_first_chunk_seconds",
        "From the call's beginning to the first chunk of its answer.",
        lambda each: each.first_chunk,
    ),
    ("diglot_chunk_gap_seconds", "From a chunk to the next one.", lambda each: each.gaps),
)


def _cumulated(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
        total += count
        buckets.append((str(bound), total))
    return buckets, histogram.sum


class _States(Collector):
    """What is so at the moment."""

    def __init__(self, models: Models, deployments: Deployments) -> None:
        self._models = models
        self._deployments = deployments

    def collect(self) -> Iterator[Metric]:
        yield from self._of_models()
        yield from self._of_deployments()

    def _of_models(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "diglot_model_ready", "Whether the model can answer.", labels=["model"]
        )
        running = GaugeMetricFamily(
            "diglot_requests_running", "Places of the model that are taken.", labels=["model"]
        )
        queued = GaugeMetricFamily(
            "diglot_requests_queued", "Calls that wait for such a place.", labels=["model"]
        )
        for served in self._models.served:
            ready.add_metric([served.label], served.engine.readiness.ready)
            if served.admission is not None:
                running.add_metric([served.label], served.admission.running)
                queued.add_metric([served.label], served.admission.queued)
        yield ready
        yield running
        yield queued

    def _of_deployments(self) -> Iterator[Metric]:
        labels = ["model", "deployment"]
        ready = GaugeMetricFamily(
            "diglot_deployment_ready", "Whether the deployment can answer.", labels=labels
        )
        circuit = GaugeMetricFamily(
            "diglot_deployment_circuit_open",
            "Whether the deployment is left out because it fails.",
            labels=labels,
        )
        in_flight = GaugeMetricFamily(
            "diglot_deployment_requests_in_flight", "Requests that it has.", labels=labels
        )
        asked = CounterMetricFamily(
            "diglot_deployment_requests", "Requests that were sent to it.", labels=labels
        )
        failures = CounterMetricFamily(
            "diglot_deployment_failures",
            "Requests that it failed, by reason.",
            labels=[*labels, "reason"],
        )
        for model, each, counted in self._deployments():
            place = [model, each.name]
            ready.add_metric(place, each.ready)
            if counted:
                circuit.add_metric(place, not each.circuit.closed)
                in_flight.add_metric(place, each.in_flight)
                asked.add_metric(place, each.asked)
                for reason, count in each.failures.items():
                    failures.add_metric([*place, reason], count)
        yield ready
        yield circuit
        yield in_flight
        yield asked
        yield failures
