"""One request over HTTP and the stream of events that answers it, in whatever dialect."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import aiohttp
from pydantic_core import PydanticSerializationError, to_json

from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..errors import ChatError, UpstreamInvalid, UpstreamUnavailable
from .refusal import LONGEST_BODY
from .secret import without
from .sse import EventReader

Refused = Callable[[int, bytes, str | None], ChatError]
"""From a reply's status, its body's first bytes and its Retry-After."""


class Reader(Protocol):
    """Turns one stream's events into chunks."""

    def read(self, data: bytes) -> Iterable[ChatCompletionChunk]:
        """The chunks that one event comes to."""

    def end(self) -> Iterator[ChatCompletionChunk]:
        """What comes after the last event. Raises if the answer is not whole."""


def broken_off() -> ChatError:
    """For a connection that cannot be had, or breaks."""
    return UpstreamUnavailable("The upstream cannot be reached, or broke off.", retry_after=1)


async def exchange(
    session: aiohttp.ClientSession,
    url: str,
    headers: Mapping[str, str],
    body: dict[str, Any],
    reader: Reader,
    refused: Refused,
    lost: Callable[[], ChatError] = broken_off,
) -> AsyncGenerator[ChatCompletionChunk, None]:
    """Sends one request and yields what comes back. Closing the generator resets the connection."""
    events = EventReader()
    try:
        response = await session.post(
            url,
            data=_encoded(body),
            headers={"Content-Type": "application/json", **headers},
            allow_redirects=False,  # a redirect would carry the key elsewhere
        )
        with _ended(response):
            if response.status != 200:
                refusal = await response.content.read(LONGEST_BODY)
                raise refused(response.status, refusal, response.headers.get("Retry-After"))
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise UpstreamInvalid("The upstream compressed its answer, unasked.")
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
    except ChatError as error:
        raise without(_key_in(headers), error) from None


def _key_in(headers: Mapping[str, str]) -> str | None:
    authorization = headers.get("Authorization")
    return authorization.removeprefix("Bearer ") if authorization else headers.get("x-api-key")


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return to_json(body)
    except PydanticSerializationError:  # half of a surrogate pair: JSON has only an escape for it
        return json.dumps(body).encode()


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
