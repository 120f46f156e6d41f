"""The answer to one request, while it comes."""

from __future__ import annotations

import asyncio
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

# Bytes of status and headers; whoever sends more has something else in mind.
_LONGEST_HEAD = 64 * 2**10
# Bytes that may wait to be read before the sender is made to wait.
_MOST_UNREAD = 256 * 2**10


class Broken(ConnectionError):
    """The connection ended before the answer did, or what came is not HTTP."""


class Source(Protocol):
    """The connection that it comes by."""

    def pause(self) -> None:
        """Nothing more for now."""

    def resume(self) -> None:
        """Go on."""

    def free(self) -> None:
        """The answer is read, and there may be another one."""

    def close(self) -> None:
        """The answer is read, and was the last."""

    def reset(self) -> None:
        """The rest of the answer is not wanted."""


class Reply:
    """Its status and headers, and its body piece by piece. One reader at a time."""

    __slots__ = (
        "_ended",
        "_error",
        "_head",
        "_informal",
        "_last",
        "_loop",
        "_parser",
        "_paused",
        "_pieces",
        "_source",
        "_unread",
        "_waiter",
        "headers",
        "status",
    )

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """By their names in lower case; what came several times has a comma in between."""
        self._source = source
        self._loop = loop
        self._parser = HttpResponseParser(self)
        self._head = 0
        self._informal = False
        self._pieces: list[bytes] = []
        self._unread = 0
        self._paused = False
        self._ended = False
        self._last = False
        self._error: Broken | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether all of it has been read."""
        return self._ended and not self._pieces

    async def begin(self) -> None:
        """Returns when the status and the headers are there. Raises Broken."""
        while not self.status:
            await self._more()

    async def read(self) -> bytes:
        """What has come since the last time, at least a byte; none at the end. Raises Broken."""
        while not self._pieces:
            if self._ended:
                return b""
            await self._more()
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        if self._paused:
            self._paused = False
            self._source.resume()
        return data

    async def read_up_to(self, limit: int) -> bytes:
        """The body's first bytes, at most so many."""
        pieces = []
        while limit > 0 and (piece := await self.read()):
            pieces.append(piece[:limit])
            limit -= len(piece)
        return b"".join(pieces)

    def end_within(self, seconds: float) -> asyncio.TimerHandle:
        """Reading is Broken after so many seconds. Cancel what it returns before closing."""
        return self._loop.call_later(seconds, self.fail, Broken("it does not end"))

    def close(self) -> None:
        """To be called once, when nothing more will be read."""
        if not self._ended or self._pieces:
            self._source.reset()
        elif self._last:
            self._source.close()
        else:
            self._source.free()

    def _more(self) -> asyncio.Future[None]:
        """Done when more has come, or nothing more will."""
        if self._error is not None:
            raise self._error
        # Not by asking for the running loop: that takes a system call.
        self._waiter = self._loop.create_future()
        return self._waiter

    # What the connection tells.

    def feed(self, data: bytes) -> None:
        if not self.status:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.fail(Broken(f"no HTTP: {error}"))
            return
        if not self.status and self._head > _LONGEST_HEAD:
            self.fail(Broken("headers without end"))
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: Broken) -> None:
        """Nothing more will come. What has come can still be read."""
        if not self._ended:
            if self._ends_with_connection and type(error) is End:
                self._ended = self._last = True
            elif self._error is None:
                self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def _ends_with_connection(self) -> bool:
        return (
            self.status != 0
            and "content-length" not in self.headers
            and "chunked" not in self.headers.get("transfer-encoding", "").lower()
        )

    # What llhttp tells, while it is fed.

    def on_message_begin(self) -> None:
        if self._ended:
            self._last = True  # who answers twice, or says more, is not asked again

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer: nothing that we asked for
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self.headers.get(key)
        self.headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        status = self._parser.get_status_code()
        self._informal = status < 200
        if self._informal:
            self.headers.clear()
        else:
            self.status = status

    def on_body(self, body: bytes) -> None:
        if self._ended:
            return
        self._pieces.append(body)
        self._unread += len(body)
        if self._unread > _MOST_UNREAD and not self._paused:
            self._paused = True
            self._source.pause()

    def on_message_complete(self) -> None:
        if not self._informal:
            self._ended = True
            # Only now: the parser does not remember.
            self._last |= not self._parser.should_keep_alive()


class End(Broken):
    """The connection was closed in order: the end of a body that has no other."""
