"""What a server tells of itself: the tables [admin] and [traces]."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from pydantic import AfterValidator, Field

from .checks import ListenAddress, fault, http_url
from .section import Section


class AdminSettings(Section):
    """The port for metrics and probes. It asks for no key: keep it to those who may look."""

    address: ListenAddress | None = None
    """Where to listen, for example "127.0.0.1:9464". Absent: there is no such port."""


def _endpoint(url: str) -> str:
    http_url(
        url,
        "write http://HOST:4318, as OTLP over HTTP has it",
        "set OTEL_EXPORTER_OTLP_HEADERS instead",
    )
    try:
        installed = find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp")
    except ModuleNotFoundError:
        installed = None
    if installed is None:
        raise fault('needs what is not installed here: pip install "diglot[otel]"')
    return url.rstrip("/")


class TracesSettings(Section):
    """Traces for an OpenTelemetry collector."""

    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    """The collector, as http://HOST:4318; /v1/traces is added. Absent: nothing is traced."""
    sample_ratio: float = Field(default=1, ge=0, le=1)
    """The share of the calls that are traced, where the caller's own trace does not decide."""
