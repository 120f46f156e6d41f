"""One request over HTTP and the stream of events that answers it, in whatever dialect."""

from __future__ import annotations

import json
from asyncio import TimerHandle
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic_core import PydanticSerializationError, to_json

from diglot.burst import Burst, TextRun
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..errors import ChatError, UpstreamInvalid, UpstreamUnavailable
from ..http import Broken, HttpChannel, Reply
from .refusal import LONGEST_BODY
from .secret import without
from .sse import EventReader
from .whole import LONGEST

# Seconds that an upstream has to end what can be understood without its end: a refusal, and a
# stream of which it has said all. Few clients wait for that, so some servers do not get there.
_PATIENCE = 1.0

_LONGEST_CAUSE = 200

Refused = Callable[[int, bytes, str | None], ChatError]
"""From a reply's status, its body's first bytes and its Retry-After."""


class Reader(Protocol):
    """Turns one stream's events into chunks."""

    done: bool
    """Whether the upstream has said that this is all."""

    def read(self, events: Sequence[bytes]) -> Iterator[ChatCompletionChunk | TextRun]:
        """The chunks that the events come to."""

    def end(self) -> Iterable[ChatCompletionChunk]:
        """What comes after the last event. Raises if the answer is not whole."""


def broken_off() -> ChatError:
    """For a connection that cannot be had, or breaks."""
    return UpstreamUnavailable("The upstream cannot be reached, or broke off.", retry_after=1)


async def exchange(
    channel: HttpChannel,
    headers: Mapping[str, str],
    body: dict[str, Any],
    reader: Reader,
    refused: Refused,
    lost: Callable[[], ChatError] = broken_off,
    read_whole: Callable[[bytes], Iterable[ChatCompletionChunk]] | None = None,
) -> AsyncGenerator[Burst, None]:
    """Sends one request and yields what comes back: with `read_whole`, which reads the body, an
    answer in one piece. Closing the generator resets the connection."""
    events = EventReader()
    try:
        reply = await channel.post(headers, _encoded(body))
        patience: TimerHandle | None = None
        try:
            if reply.status != 200:
                refusal = await _refusal(reply)
                raise refused(reply.status, refusal, reply.headers.get("retry-after"))
            if reply.headers.get("content-encoding", "identity") != "identity":
                raise UpstreamInvalid("The upstream compressed its answer, unasked.")
            if read_whole is not None:
                yield [*read_whole(await _body(reply))]
                return
            kind, _, _ = reply.headers.get("content-type", "").partition(";")
            if kind.strip().lower() != "text/event-stream":
                raise UpstreamInvalid("The upstream answered with something else than a stream.")
            ended = False
            while not ended:
                try:
                    piece = await reply.read()
                    ended = reply.ended
                except Broken:
                    if not reader.done:
                        raise
                    piece, ended = b"", True
                burst: list[ChatCompletionChunk | TextRun] = []
                fault = None
                try:
                    burst += reader.read(events.feed(piece))
                    if ended:
                        burst += reader.read(events.end())
                        burst += reader.end()
                except ChatError as error:
                    fault = error  # what came before it was said, and counts
                if burst:
                    yield burst
                if fault is not None:
                    raise fault
                if reader.done and not ended and patience is None:
                    patience = reply.end_within(_PATIENCE)
        finally:
            if patience is not None:
                patience.cancel()
            reply.close()
    except OSError as error:
        said = lost()
        said.cause = f"{type(error).__name__}: {error}"[:_LONGEST_CAUSE]
        raise said from None
    except ChatError as error:
        raise without(_key_in(headers), error) from None


async def _refusal(reply: Reply) -> bytes:
    """As much of the body as comes: its status alone says most."""
    body = b""
    patience = reply.end_within(_PATIENCE)
    try:
        while len(body) < LONGEST_BODY and (piece := await reply.read()):
            body += piece[: LONGEST_BODY - len(body)]
    except Broken:
        pass
    finally:
        patience.cancel()
    return body


async def _body(reply: Reply) -> bytes:
    body = await reply.read_up_to(LONGEST + 1)
    if len(body) > LONGEST:
        raise UpstreamInvalid("The upstream sent an answer that is too long.")
    return body


def _key_in(headers: Mapping[str, str]) -> str | None:
    authorization = headers.get("Authorization")
    return authorization.removeprefix("Bearer ") if authorization else headers.get("x-api-key")


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return to_json(body)
    except PydanticSerializationError:  # half of a surrogate pair: JSON has only an escape for it
        return json.dumps(body).encode()
