"""The engine that asks an OpenAI-compatible server."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..call import Call
from ..errors import ChatError, NotReady, UpstreamInvalid, UpstreamUnavailable
from ..readiness import Readiness
from .chunk_reader import ChunkReader
from .refusal import LONGEST_BODY, error_of
from .request_json import to_json
from .sse import EventReader


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an upstream is. `base_url` ends before `/chat/completions`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    connect_timeout: float = 5
    """Seconds."""

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"


class UpstreamEngine:
    """Streams from an upstream, also for unary calls: then a caller who leaves is noticed in
    the same way, and there is one path to keep right.

    `model` is the upstream's name for the model. An upstream is taken to be ready: asking it
    is the only way to know.
    """

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self.readiness = Readiness()
        self._endpoint = endpoint
        self._model = model
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = open_session(self._endpoint.connect_timeout)
        self.readiness.up()

    async def close(self) -> None:
        self.readiness.down("closed")
        if self._session is not None:
            await self._session.close()
            self._session = None

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        if self._session is None:
            raise NotReady("The server is not started.")
        body = to_json(request)
        body["model"] = self._model
        return converse(self._session, self._endpoint, body, call, ChunkReader(request))


def open_session(connect_timeout: float, *, reuse: bool = True) -> aiohttp.ClientSession:
    """A session for one upstream. The caller's deadline bounds a call, so no other limit does.

    Without `reuse` each call has a connection of its own.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # admission is not the connection pool's business
            force_close=not reuse,
            # Less than servers wait: a request sent into a closing connection is lost.
            keepalive_timeout=3 if reuse else None,
        ),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@contextmanager
def _ended(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Sees to it that leaving a response early ends the generation behind it.

    By a reset: after an orderly close the server's next write would still succeed, and it
    would generate until the one after that.
    """
    try:
        yield
    except BaseException:
        transport = response.connection.transport if response.connection else None
        if transport is not None and (sock := transport.get_extra_info("socket")) is not None:
            with suppress(OSError):  # closed already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise
    finally:
        response.close()


async def converse(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    body: dict[str, Any],
    call: Call,
    reader: ChunkReader,
    lost: Callable[[], ChatError] = lambda: UpstreamUnavailable(
        "The upstream cannot be reached, or broke off.", retry_after=1
    ),
) -> AsyncGenerator[ChatCompletionChunk, None]:
    """Sends one request and yields what comes back. `lost` makes the error for a connection
    that cannot be had or breaks."""
    body["stream"] = True
    body["stream_options"] = body.get("stream_options", {}) | {"include_usage": True}
    headers = {"Content-Type": "application/json", "X-Request-Id": call.request_id}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    events = EventReader()
    try:
        response = await session.post(
            endpoint.url,
            data=json.dumps(body, ensure_ascii=False).encode(),
            headers=headers,
            allow_redirects=False,  # a redirect would carry the key elsewhere
        )
        with _ended(response):
            if response.status != 200:
                refusal = await response.content.read(LONGEST_BODY)
                raise error_of(response.status, refusal, response.headers.get("Retry-After"))
            if response.content_type != "text/event-stream":
                raise UpstreamInvalid("The upstream answered with something else than a stream.")
            while piece := await response.content.readany():
                for data in events.feed(piece):
                    for chunk in reader.read(data):
                        yield chunk
            for data in events.end():
                for chunk in reader.read(data):
                    yield chunk
            for chunk in reader.end():
                yield chunk
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        raise lost() from None
