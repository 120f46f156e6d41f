"""What one call came to, and who is told: the log, the metrics and the trace."""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from diglot.presence import has
from diglot.v1.completion_pb2 import Usage
from diglot.v1.error_pb2 import ErrorReason

from .call import Call
from .errors import ChatError, DeadlineExceeded, InternalError, name_of
from .logs import event
from .status import mapping
from .telemetry.metrics import GAPS, NO_MODEL, Metrics, ModelMetrics

if TYPE_CHECKING:
    from .telemetry.tracing import CallSpan, Tracing

logger = logging.getLogger("diglot.chat")

_EARLY = 0.1
# Seconds before the deadline in which a call that is cancelled is one that ran out of time. A
# caller's own clock began before the request was here, and so it leaves a little earlier.

_CANCELLED = "cancelled"
_OK = 200


@cache
def _status_of(reason: ErrorReason.ValueType) -> int:
    return mapping(reason).http_status


def _own_status(error: ChatError) -> int | None:
    """With which an upstream's refusal goes out over HTTP. A peer's may say anything."""
    said = error.details.get("http_status", "")
    return int(said) if len(said) == 3 and said.isdecimal() and said[0] in "45" else None


def _milliseconds(seconds: float) -> float:
    """With one decimal. `round` takes five times as long."""
    return int(seconds * 10_000 + 0.5) / 10


class Account:
    """What one call came to, told when it has ended, however it ended: one line in the log, and
    what the metrics and the trace make of it.

    `chunks` is called for each burst of them, and costs no more than a look at the clock.
    """

    __slots__ = (
        "_call",
        "_cause",
        "_first",
        "_gaps",
        "_last",
        "_metrics",
        "_model",
        "_queued",
        "_served",
        "_span",
        "_start",
        "_status",
        "_streamed",
        "outcome",
        "usage",
    )

    def __init__(
        self,
        model: str,
        call: Call,
        *,
        streamed: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        """`model` is what the caller wrote."""
        self.outcome = _CANCELLED  # unless something else is said before the end
        self.usage: Usage | None = None
        self._status: int | None = None
        self._cause: str | None = None
        self._model = model
        self._call = call
        self._streamed = streamed
        self._metrics = metrics
        self._served: ModelMetrics | None = None
        self._gaps: defaultdict[int, int] = defaultdict(int)
        self._start = time.perf_counter()
        self._queued: float | None = None
        self._first = 0.0
        self._last = 0.0
        self._span: CallSpan | None = None

    def trace(self, tracing: Tracing) -> Call:
        """The call as it goes on: under a span of its own."""
        self._span = tracing.begin(self._call, streamed=self._streamed)
        return replace(self._call, trace=self._span.context)

    def admitted(self, model: str) -> None:
        """`model` is the configuration's name of the one that is to answer."""
        if self._metrics is not None:
            self._served = self._metrics.models[model]
            self._served.in_flight += 1

    def waited(self, seconds: float) -> None:
        """It has its place, after so long in the model's queue."""
        self._queued = seconds

    def chunks(self, count: int) -> None:
        """So many have come together, at least one: between them is no pause at all."""
        now = time.perf_counter()
        if self._first:
            self._gaps[bisect_left(GAPS, now - self._last)] += 1
        else:
            self._first = now
        if count > 1:
            self._gaps[0] += count - 1
        self._last = now

    def stored(self, well: bool) -> None:
        """The completion is in the store, or could not be put there."""
        if self._metrics is not None:
            self._metrics.stored["ok" if well else "failed"] += 1

    def ended(self) -> None:
        """The answer is whole."""
        self.outcome = "ok"
        self._status = _OK

    def failed(self, error: Exception) -> None:
        """`error` is what the caller is told, or a bug, of which the caller is not told."""
        told = error if isinstance(error, ChatError) else InternalError()
        self.outcome = name_of(told).lower()
        self._status = _own_status(told) or _status_of(told.reason)
        self._cause = told.cause

    def close(self) -> None:
        if self.outcome == _CANCELLED and self._is_late():
            self.failed(DeadlineExceeded())
        if self.usage is None:
            self.usage = self._call.meter.usage()
        duration = time.perf_counter() - self._start
        if logger.isEnabledFor(logging.INFO):
            event(logger, "completion", self._fields(duration))
        if self._metrics is not None:
            self._count(self._metrics, duration)
        if self._span is not None:
            self._span.end(self.outcome, self._model, self._call.meter.deployment, self._queued)

    def _is_late(self) -> bool:
        deadline = self._call.deadline
        return deadline is not None and asyncio.get_running_loop().time() > deadline - _EARLY

    def _fields(self, duration: float) -> dict[str, object]:
        """What its line in the log says."""
        call = self._call
        fields: dict[str, object] = {
            "request_id": call.request_id,
            "key": call.caller,
            "model": self._model[:100],
            "stream": self._streamed,
            "outcome": self.outcome,
            "ms": _milliseconds(duration),
        }
        if call.meter.deployment is not None:
            fields["deployment"] = call.meter.deployment
        if self._status is not None:
            fields["status"] = self._status
        if self._cause is not None:
            fields["cause"] = self._cause
        if self._queued:
            fields["queue_ms"] = _milliseconds(self._queued)
        if trace := self._span.context if self._span else call.trace:
            fields["trace_id"] = trace[0][1][3:35]
        if self._first:
            fields["first_chunk_ms"] = _milliseconds(self._first - self._start)
        if self.usage is not None:
            fields["prompt_tokens"] = self.usage.prompt_tokens
            fields["completion_tokens"] = self.usage.completion_tokens
        return fields

    def _count(self, metrics: Metrics, duration: float) -> None:
        served = self._served
        if served is None:
            metrics.models[NO_MODEL].outcomes[self.outcome] += 1
            return
        served.in_flight -= 1
        served.outcomes[self.outcome] += 1
        # Refusals are quick: among the answers they would make an overload look fast.
        if self.outcome == "ok":
            served.duration.observe(duration)
        if self._queued is not None:
            served.queue.observe(self._queued)
        if self._first:
            served.first_chunk.observe(self._first - self._start)
            served.gaps.add(self._gaps, self._last - self._first)
        if (usage := self.usage) is not None:
            served.prompt_tokens += usage.prompt_tokens
            served.completion_tokens += usage.completion_tokens
            if has(usage, "prompt_tokens_details"):
                served.cached_tokens += usage.prompt_tokens_details.cached_tokens
            if has(usage, "completion_tokens_details"):
                served.reasoning_tokens += usage.completion_tokens_details.reasoning_tokens
