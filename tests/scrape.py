"""What Prometheus would read from an admin port."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """One reading."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: dict[str, Metric] = {
            family.name: family for family in text_string_to_metric_families(text)
        }

    def series(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """All with this name, each with its labels."""
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name:
                    yield sample.labels, sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of those that have these labels, perhaps among others; 0 if there are none."""
        return sum(value for found, value in self.series(name) if labels.items() <= found.items())


async def scrape(url: str) -> Scrape:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return Scrape(await response.text())
