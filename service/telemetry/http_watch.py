"""What the HTTP face shows of its requests, counted and traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .metrics import Metrics

if TYPE_CHECKING:
    from .tracing import HttpSpan, Tracing

# A method is the client's to make up, and a label must not be.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
# They come every few seconds, and are nobody's call.
_PROBES = frozenset({"/healthz", "/readyz"})
_LEFT = "client_gone"

Trace = Sequence[tuple[str, str]]


class HttpWatch:
    """Is shown every request of the HTTP face (facade/watch.py)."""

    def __init__(self, metrics: Metrics | None, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def begin(self, method: str, route: str, trace: Trace) -> HttpLook:
        if method not in _METHODS:
            method = _OTHER
        span = None
        if self._tracing is not None and route not in _PROBES:
            span = self._tracing.begin_http(method, route, trace)
        return HttpLook(method, route, trace, self._metrics, span)


class HttpLook:
    """One request."""

    __slots__ = ("_labels", "_metrics", "_span", "trace")

    def __init__(
        self,
        method: str,
        route: str,
        trace: Trace,
        metrics: Metrics | None,
        span: HttpSpan | None,
    ) -> None:
        self.trace = trace if span is None else span.context
        self._labels = (method, route)
        self._metrics = metrics
        self._span = span

    def end(self, status: int | None, request_id: str) -> None:
        if self._metrics is not None:
            told = _LEFT if status is None else str(status)
            self._metrics.http[(*self._labels, told)] += 1
        if self._span is not None:
            self._span.end(status, request_id)
