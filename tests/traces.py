"""A configuration that sends traces, and the way down through them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from collector import Collector, SpanSeen
from faces import GRPC, HTTP
from faulty_upstream import FaultyUpstream

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
HEADERS = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "x-request-id": "req-mine"}
FACES = pytest.mark.parametrize("face", [HTTP, GRPC])


def config(there: Collector | None, *upstreams: FaultyUpstream, more: str = "") -> str:
    lines = [f'traces.endpoint = "{there.endpoint}"'] if there else []
    lines += [more, "[[models]]", 'name = "m"']
    for index, each in enumerate(upstreams):
        lines += [
            "[[models.deployments]]",
            f'name = "place-{index}"',
            f"weight = {1000 if index == 0 else 1}",
            'kind = "upstream"',
            f'base_url = "{each.base_url}"',
            'upstream_model = "gpt-5-mini"',
        ]
    return "\n".join(lines)


def below(spans: list[SpanSeen], parent: str) -> Iterator[SpanSeen]:
    """The span under this one, the one under that, and so on."""
    while found := [span for span in spans if span.parent == parent]:
        (span,) = found
        yield span
        parent = span.id
