"""Spans for an OpenTelemetry collector, one below the other as a call goes its way:

    POST /v1/chat/completions                    the HTTP face, if the call came by it
    └─ diglot.v1.ChatService/StreamChatCompletion    the core, stored completions included
       ├─ chat gpt-5-mini  (failed)              each engine that was asked, by the conventions for
       └─ chat gpt-5-mini                        generative AI: opentelemetry.io/docs/specs/semconv

Between them, and to servers before and behind us, the trace context travels as W3C has it. What
callers and models say is in none of them.

Only here is OpenTelemetry's SDK imported, and this only where traces are configured.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from ..call import Call
from .http_watch import Trace

_W3C = TraceContextTextMapPropagator()
_SERVICE = "diglot.v1.ChatService"
_LAST_EXPORT = 3.0
"""Seconds that the last spans have to reach the collector when the server stops."""

Context = tuple[tuple[str, str], ...]


class Tracing:
    """Makes spans, and sends them to the collector from a thread of its own."""

    def __init__(self, endpoint: str, sample_ratio: float) -> None:
        """`endpoint` ends before /v1/traces. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
        OTEL_EXPORTER_OTLP_HEADERS, …_TIMEOUT, …_CERTIFICATE and OTEL_BSP_… are the SDK's to read.
        """
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=_resource(),
            span_limits=SpanLimits(max_attribute_length=256),
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("diglot", version("diglot"))
        self._open: set[int] = set()

    async def close(self) -> None:
        """Sends what there is still to send."""
        closing = asyncio.get_running_loop().run_in_executor(None, self._provider.shutdown)
        sent, _ = await asyncio.wait({closing}, timeout=_LAST_EXPORT)
        if not sent:
            # Else it would try again for longer.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
            await asyncio.wait({closing}, timeout=1)

    def begin_http(self, method: str, route: str, trace: Trace) -> HttpSpan:
        attributes = {"http.request.method": method}
        if route:
            attributes["http.route"] = route
        span = self._start(f"{method} {route}".rstrip(), SpanKind.SERVER, trace, attributes)
        own = span.get_span_context().span_id
        self._open.add(own)
        return HttpSpan(span, lambda: self._open.discard(own))

    def begin(self, call: Call, *, streamed: bool) -> CallSpan:
        """A completion."""
        method = "StreamChatCompletion" if streamed else "CreateChatCompletion"
        return self.begin_call(call, method)

    def begin_call(self, call: Call, method: str) -> CallSpan:
        """A call of the core, by its name in the contract."""
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": _SERVICE,
            "rpc.method": method,
            "diglot.request_id": call.request_id,
            "diglot.key": call.caller,
        }
        # Below a span of this process it is no server of its own.
        parent = dict(call.trace).get("traceparent", "")[36:52]
        local = bool(parent) and int(parent, 16) in self._open
        kind = SpanKind.INTERNAL if local else SpanKind.SERVER
        return CallSpan(self._start(f"{_SERVICE}/{method}", kind, call.trace, attributes))

    def begin_attempt(self, call: Call, name: str, attributes: dict[str, AttributeValue]) -> Span:
        """The call of an engine."""
        return self._start(name, SpanKind.CLIENT, call.trace, attributes)

    def _start(
        self, name: str, kind: SpanKind, trace: Trace, attributes: Mapping[str, AttributeValue]
    ) -> Span:
        context = _W3C.extract(dict(trace))
        return self._tracer.start_span(name, context, kind, attributes)


class HttpSpan:
    """A request of the HTTP face."""

    def __init__(self, span: Span, ended: Callable[[], None]) -> None:
        self.context = context_of(span)
        self._span = span
        self._ended = ended

    def end(self, status: int | None, request_id: str) -> None:
        self._span.set_attribute("diglot.request_id", request_id)
        if status is None:
            self._span.set_attribute("error.type", "client_gone")
        else:
            self._span.set_attribute("http.response.status_code", status)
            if status >= 400:
                self._span.set_attribute("error.type", str(status))
            if status >= 500:
                self._span.set_status(StatusCode.ERROR)
        self._span.end()
        self._ended()


class CallSpan:
    """A call of the core."""

    def __init__(self, span: Span) -> None:
        self.context = context_of(span)
        self._span = span

    def end(
        self,
        outcome: str,
        model: str | None = None,
        deployment: str | None = None,
        queued: float | None = None,
    ) -> None:
        """`model` is what the caller wrote, where it had to name one."""
        span = self._span
        if model is not None:
            span.set_attribute("diglot.model", model)
        span.set_attribute("diglot.outcome", outcome)
        if deployment is not None:
            span.set_attribute("diglot.deployment", deployment)
        if queued:
            span.set_attribute("diglot.queue_seconds", queued)
        fail(span, outcome)
        span.end()


def fail(span: Span, outcome: str) -> None:
    """Marks a span of something that did not go well. A caller who leaves is no failure."""
    if outcome == "ok":
        return
    span.set_attribute("error.type", outcome)
    if outcome != "cancelled":
        span.set_status(StatusCode.ERROR)


def context_of(span: Span) -> Context:
    """What is passed on, for others to begin their spans below this one."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span))
    return tuple(carrier.items())


def _resource() -> Resource:
    ours = {SERVICE_VERSION: version("diglot")}
    named = "OTEL_SERVICE_NAME" in os.environ
    if not named and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        ours[SERVICE_NAME] = "diglot"
    return Resource.create(ours)
