"""The engine that asks an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from diglot.burst import Burst
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..call import Call
from ..capability import EVERYTHING
from ..errors import ChatError
from ..http import HttpChannel
from .chunk_reader import ChunkReader
from .endpoint import Endpoint, HttpEngine
from .exchange import broken_off, exchange
from .refusal import error_of
from .request_json import to_json
from .whole import in_one_piece


class UpstreamEngine(HttpEngine):
    """Streams from an upstream, also for unary calls: then a caller who leaves is noticed in
    the same way, and what he was sent until then is known. It is taken to be able to do whatever
    it does not refuse itself.

    Where the endpoint says so, unary calls are asked for in one piece. Of those nothing is
    delivered, and nothing accounted, before all of it is there; many servers see only some
    seconds later that the connection was closed, and generate until then.
    """

    capabilities = EVERYTHING

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        body = to_json(request)
        body["model"] = self._model.of(request.model)
        if request.store:
            # Stored is what we answer, under our id. An upstream would keep a second copy that
            # nobody finds or deletes; and OpenAI refuses metadata of what it does not store.
            del body["store"]
            body.pop("metadata", None)
        whole = in_one_piece(request, call, always=self._endpoint.whole)
        reader = ChunkReader(request, in_one_piece=call.whole)
        return converse(self._channel, self._endpoint, body, call, reader, whole=whole)


def converse(
    channel: HttpChannel,
    endpoint: Endpoint,
    body: dict[str, Any],
    call: Call,
    reader: ChunkReader,
    lost: Callable[[], ChatError] = broken_off,
    *,
    whole: bool = False,
) -> AsyncGenerator[Burst, None]:
    """Sends one request and yields what comes back: a stream, or the `whole` of it. `lost` makes
    the error for a connection that cannot be had or breaks."""
    if not whole:
        body["stream"] = True
        body["stream_options"] = body.get("stream_options", {}) | {"include_usage": True}
        if endpoint.continuous_usage:
            body["stream_options"]["continuous_usage_stats"] = True
    headers = {"X-Request-Id": call.request_id, **dict(call.trace)}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    call.meter.follow(reader.delivered)
    read_whole = reader.read_whole if whole else None
    return exchange(channel, headers, body, reader, error_of, lost, read_whole)
