"""Who looks on while requests are answered: for counts and traces.

What is done with it is not the façade's: whoever builds the application hands a Watch in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Protocol

TRACE_HEADERS = ("traceparent", "tracestate")
# At most as long as W3C wants it passed on.
_LONGEST = 512

TRACE: ContextVar[Sequence[tuple[str, str]]] = ContextVar("trace", default=())
"""The trace context of the request that is being answered, as the service is told of it."""


class Look(Protocol):
    """One request that is looked at."""

    @property
    def trace(self) -> Sequence[tuple[str, str]]:
        """The trace context for the service: traceparent, tracestate."""

    def end(self, status: int | None, request_id: str) -> None:
        """It was answered with this status; None: the client left before."""


class Watch(Protocol):
    """Is shown every request."""

    def begin(self, method: str, route: str, trace: Sequence[tuple[str, str]]) -> Look:
        """`route` is the pattern of the path, with its variables' names; empty if there is no such
        path. `trace` is the client's trace context, unchecked."""


def trace_of(headers: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """The client's trace context. The service checks it."""
    if "traceparent" not in headers:
        return ()
    found = ((name, headers.get(name, "")) for name in TRACE_HEADERS)
    return [
        (name, value)
        for name, value in found
        if 0 < len(value) <= _LONGEST and value.isascii() and value.isprintable()
    ]
