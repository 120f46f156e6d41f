"""Where an upstream is, and what its engines have in common, whatever its dialect."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import NotReady
from ..http import HttpChannel
from ..readiness import Readiness
from .name import UpstreamName


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Of OpenAI's API. `base_url` ends before `/chat/completions`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    connect_timeout: float = 5
    """Seconds."""
    continuous_usage: bool = False
    """Whether it is to tell the usage so far with each token."""
    whole: bool = False
    """Whether unary calls are asked for in one piece, and not as streams."""

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"


class HttpEngine:
    """What asks an endpoint for completions over HTTP.

    `model` is the upstream's name for the model. An upstream is taken to be ready: asking it is
    the only way to know.
    """

    def __init__(self, endpoint: Endpoint, model: str | UpstreamName) -> None:
        self.readiness = Readiness()
        self._endpoint = endpoint
        self._model = UpstreamName(model) if isinstance(model, str) else model
        self._opened: HttpChannel | None = None

    async def start(self) -> None:
        self._opened = HttpChannel(self._endpoint.url, self._endpoint.connect_timeout)
        self.readiness.up()

    async def close(self) -> None:
        """Calls under way break off."""
        self.readiness.down("closed")
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _channel(self) -> HttpChannel:
        if self._opened is None:
            raise NotReady("The server is not started.")
        return self._opened
