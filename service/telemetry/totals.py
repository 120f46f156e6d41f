"""The metrics of several processes that do the same, in one.

What is counted is added up, and what a process has counted stays when it ends: a total that sank
would look to Prometheus as if all had begun anew. So are states that are numbers of calls. What is
true of one process only has its number as a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_NUMBERS_OF_CALLS = frozenset(
    {
        "diglot_requests_in_flight",
        "diglot_requests_running",
        "diglot_requests_queued",
        "diglot_deployment_requests_in_flight",
    }
)
# Counters are not, but of a process: who looks for a leak looks at one.
_OF_A_PROCESS = "process_"

_Labels = tuple[tuple[str, str], ...]


class Totals:
    """What processes have said, each in Prometheus' text."""

    def __init__(self) -> None:
        self._said: dict[object, str] = {}
        self._left: dict[str, _Family] = {}

    def hear(self, process: object, text: str) -> None:
        """Replaces what the process said before."""
        self._said[process] = text

    def bury(self, process: object) -> None:
        """It has ended: what it counted, as far as it said so, is counted on."""
        text = self._said.pop(process, None)
        for family in _families(text) if text is not None else ():
            if family.type in ("counter", "histogram") and not _is_of_a_process(family):
                _Family.of(self._left, family).add(family, "")

    def collector(self, numbers: Mapping[Any, int]) -> Collector:
        """All together. `numbers` are those of the processes that there are now."""
        whole: dict[str, _Family] = {}
        for left in self._left.values():
            _Family.of(whole, left.metric).merge(left)
        for process, text in self._said.items():
            number = str(numbers.get(process, ""))
            for family in _families(text):
                summed = not _is_of_a_process(family) and (
                    family.type in ("counter", "histogram") or family.name in _NUMBERS_OF_CALLS
                )
                _Family.of(whole, family).add(family, "" if summed else number)
        return _Whole([family.collected() for family in whole.values()])


class _Family:
    """A metric, and its samples so far."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._samples: dict[tuple[str, _Labels], float] = {}

    @classmethod
    def of(cls, families: dict[str, _Family], metric: Metric) -> _Family:
        if metric.name not in families:
            families[metric.name] = cls(metric)
        return families[metric.name]

    def add(self, metric: Metric, worker: str) -> None:
        """`worker` tells the samples from those of others; if it is empty, they are summed up."""
        for sample in metric.samples:
            labels = {**sample.labels, "worker": worker} if worker else sample.labels
            self._count(sample.name, tuple(labels.items()), sample.value)

    def merge(self, other: _Family) -> None:
        for (name, labels), value in other._samples.items():
            self._count(name, labels, value)

    def collected(self) -> Metric:
        whole = Metric(self.metric.name, self.metric.documentation, self.metric.type)
        for (name, labels), value in self._samples.items():
            whole.add_sample(name, dict(labels), value)
        return whole

    def _count(self, name: str, labels: _Labels, value: float) -> None:
        key = (name, labels)
        self._samples[key] = self._samples.get(key, 0.0) + value


class _Whole(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _families(text: str) -> Iterable[Metric]:
    return text_string_to_metric_families(text)


def _is_of_a_process(family: Metric) -> bool:
    return family.name.startswith(_OF_A_PROCESS)
