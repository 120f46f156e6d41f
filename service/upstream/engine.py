"""The engine that asks an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..call import Call
from ..capability import EVERYTHING
from ..errors import ChatError, NotReady
from ..http import HttpChannel
from ..readiness import Readiness
from .chunk_reader import ChunkReader
from .exchange import broken_off, exchange
from .name import UpstreamName
from .refusal import error_of
from .request_json import to_json


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an upstream is. `base_url` ends before `/chat/completions`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    connect_timeout: float = 5
    """Seconds."""
    continuous_usage: bool = False
    """Whether it is to tell the usage so far with each token."""

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"


class UpstreamEngine:
    """Streams from an upstream, also for unary calls: then a caller who leaves is noticed in
    the same way, and there is one path to keep right.

    `model` is the upstream's name for the model. An upstream is taken to be ready: asking it
    is the only way to know; and to be able to do whatever it does not refuse itself.
    """

    capabilities = EVERYTHING

    def __init__(self, endpoint: Endpoint, model: str | UpstreamName) -> None:
        self.readiness = Readiness()
        self._endpoint = endpoint
        self._model = UpstreamName(model) if isinstance(model, str) else model
        self._channel: HttpChannel | None = None

    async def start(self) -> None:
        self._channel = HttpChannel(self._endpoint.url, self._endpoint.connect_timeout)
        self.readiness.up()

    async def close(self) -> None:
        self.readiness.down("closed")
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        if self._channel is None:
            raise NotReady("The server is not started.")
        body = to_json(request)
        body["model"] = self._model.of(request.model)
        if request.store:
            # Stored is what we answer, under our id. An upstream would keep a second copy that
            # nobody finds or deletes; and OpenAI refuses metadata of what it does not store.
            del body["store"]
            body.pop("metadata", None)
        return converse(self._channel, self._endpoint, body, call, ChunkReader(request))


def converse(
    channel: HttpChannel,
    endpoint: Endpoint,
    body: dict[str, Any],
    call: Call,
    reader: ChunkReader,
    lost: Callable[[], ChatError] = broken_off,
) -> AsyncGenerator[ChatCompletionChunk, None]:
    """Sends one request and yields what comes back. `lost` makes the error for a connection
    that cannot be had or breaks."""
    body["stream"] = True
    body["stream_options"] = body.get("stream_options", {}) | {"include_usage": True}
    if endpoint.continuous_usage:
        body["stream_options"]["continuous_usage_stats"] = True
    headers = {"X-Request-Id": call.request_id, **dict(call.trace)}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    call.meter.follow(reader.delivered)
    return exchange(channel, headers, body, reader, error_of, lost)
