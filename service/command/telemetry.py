"""What a process tells of itself, as its settings want it: numbers, traces, the admin port."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..config import Settings, SingleModel
from ..engine import Engine
from ..entrance import Authenticator
from ..telemetry.counted import CountedAuthenticator
from ..telemetry.http_watch import HttpWatch
from ..telemetry.metrics import Metrics
from ..upstream.name import UpstreamName

if TYPE_CHECKING:
    from ..telemetry.traced_engine import Provider
    from ..telemetry.tracing import Tracing

Make = Callable[[SingleModel, str], Engine]

_HTTP_PORTS = {"http": 80, "https": 443}


class Telemetry:
    """Nothing is counted that nobody can ask for, and nothing traced that nobody collects."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics() if settings.admin.address is not None else None
        self.tracing: Tracing | None = None
        traces = settings.traces
        if traces.endpoint is not None:
            # Half a second of imports.
            from ..telemetry.tracing import Tracing

            self.tracing = Tracing(traces.endpoint, traces.sample_ratio)

    @property
    def http_watch(self) -> HttpWatch | None:
        """What the HTTP face is to show its requests to."""
        if self.metrics is None and self.tracing is None:
            return None
        return HttpWatch(self.metrics, self.tracing)

    def counted(self, authenticator: Authenticator) -> Authenticator:
        """The same, whose refusals are counted, if anything is."""
        if self.metrics is None:
            return authenticator
        return CountedAuthenticator(authenticator, self.metrics)

    def engines(self, make: Make) -> Make:
        """Makes engines that are traced, if anything is."""
        tracing = self.tracing
        if tracing is None:
            return make
        from ..telemetry.traced_engine import TracedEngine

        def traced(model: SingleModel, name: str) -> Engine:
            return TracedEngine(make(model, name), tracing, _provider(model, name))

        return traced

    async def close(self) -> None:
        if self.tracing is not None:
            await self.tracing.close()


def _provider(model: SingleModel, name: str) -> Provider:
    from ..telemetry.traced_engine import Provider

    match model.kind:
        case "upstream" | "anthropic":
            url = urlsplit(model.base_url)
            called = UpstreamName(model.upstream_model, name)
            # For any server with OpenAI's API: it tells the format, not who is behind it.
            api = "openai" if model.kind == "upstream" else "anthropic"
            return Provider(api, called, url.hostname, url.port or _HTTP_PORTS.get(url.scheme))
        case "diglot":
            host, _, port = model.target.rpartition(":")
            called = UpstreamName(model.upstream_model, name)
            if port.isdecimal():
                return Provider("diglot", called, host.rpartition("/")[2], int(port))
            return Provider("diglot", called, model.target)
        case "embedded":
            return Provider("llama.cpp", UpstreamName(name))
        case "scripted":
            return Provider("diglot", UpstreamName(name))
