"""An OpenTelemetry collector: takes spans over OTLP/HTTP, and shows them."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class SpanSeen:
    """A span."""

    name: str
    kind: str
    """server, client or internal."""
    trace: str
    """Its trace's id, in hexadecimal, as the ones below are."""
    id: str
    parent: str
    failed: bool
    service: str
    attributes: dict[str, object]


@dataclass
class Collector:
    port: int = 0
    spans: list[SpanSeen] = field(default_factory=list)
    received: bytes = b""
    """Everything, as it came."""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def one(self, name: str) -> SpanSeen:
        """The only span of this name."""
        (span,) = self.all(name)
        return span

    def all(self, name: str) -> list[SpanSeen]:
        return [span for span in self.spans if span.name == name]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.received += body
        self.headers.update(request.headers)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_seen(span, service["service.name"]) for span in scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )


def _seen(span: Span, service: str) -> SpanSeen:
    attributes: dict[str, object] = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        assert kind is not None
        value = getattr(each.value, kind)
        if kind == "array_value":
            value = [item.string_value for item in value.values]
        attributes[each.key] = value
    return SpanSeen(
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.status.code == span.status.STATUS_CODE_ERROR,
        service,
        attributes,
    )


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    there = Collector()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/traces", there.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.port = runner.addresses[0][1]
    try:
        yield there
    finally:
        await runner.cleanup()
