"""A streamed completion as server-sent events.

    data: {chunk}          one line for each chunk, and nothing but data lines
    :                      a comment, when nothing else was sent for a while
    data: {"error": …}     the end, if the stream failed
    data: [DONE]           the end, if it did not

Nothing is sent, not even the status, before there is something to say: what fails until
then gets a status of its own. Chunks that are there together are sent together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from diglot.burst import Burst

from .before_waiting import before_waiting
from .channel import StreamCall
from .chunk_to_json import DONE
from .errors import ApiError

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # Proxies that compress or collect would hold back what is to be read at once.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
# The one kind of line that no client takes for an event.
_COMMENT = b":\n\n"
# Written out at the latest when so much has come together.
_BUFFER_LIMIT = 64 * 2**10


async def stream_events(
    request: web.Request,
    call: StreamCall,
    encode: Callable[[Burst], bytes],
    keepalive: float,
    to_api_error: Callable[[BaseException], ApiError],
) -> web.StreamResponse:
    """Answers the request with the call's chunks. The call is over when this is.

    Raises what the call raises, as long as nothing was sent. Afterwards errors are events.
    """
    out = _Output(request, keepalive)
    try:
        try:
            await _copy(call, encode, out)
        except _ClientGoneError:
            return out.response
        except (Exception, asyncio.CancelledError) as error:
            if not out.begun or is_gone(request):
                raise
            out.add(to_api_error(error).event)
        else:
            out.add(DONE)
        await out.finish()
    except _ClientGoneError:
        pass
    finally:
        out.close()
        call.cancel()
    return out.response


def is_gone(request: web.Request) -> bool:
    """Whether nobody is left to read an answer."""
    return request.transport is None or request.transport.is_closing()


async def _copy(call: StreamCall, encode: Callable[[Burst], bytes], out: _Output) -> None:
    bursts = aiter(call)
    while True:
        try:
            burst = await before_waiting(anext(bursts), out.flush)
        except StopAsyncIteration:
            return
        if out.add(encode(burst)) > _BUFFER_LIMIT:
            await out.flush()
            # A source that never waits must not keep the others waiting.
            await asyncio.sleep(0)


class _ClientGoneError(Exception):
    """A write failed: there is nobody to tell."""


class _Response(web.StreamResponse):
    # The status goes out together with the first chunk, in one packet.
    _send_headers_immediately = False


class _Output:
    """The response of one stream: a buffer in front of it, and comments in its pauses."""

    def __init__(self, request: web.Request, keepalive: float) -> None:
        self.response = _Response(headers=_HEADERS)
        self._request = request
        self._buffer: list[bytes] = []
        self._size = 0
        self._writing = False
        self._loop = asyncio.get_running_loop()
        # One timer for the stream: a write only moves the time at which a comment is due,
        # and the timer, when it fires too early, sets itself anew.
        self._keepalive = keepalive
        self._due = self._loop.time() + keepalive
        self._timer = self._loop.call_at(self._due, self._on_timer)
        self._comment: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is no way back to another status."""
        return self.response.prepared or self._size > 0

    def add(self, events: bytes) -> int:
        """Buffers the events, and tells how much the buffer holds."""
        self._buffer.append(events)
        self._size += len(events)
        return self._size

    async def flush(self) -> None:
        """Writes what the buffer holds, at the speed of the client."""
        if self._size:
            await self._write(self._take())

    async def finish(self) -> None:
        """Writes what the buffer holds, and the end of the response."""
        self.close()  # a comment after the end would be the beginning of the next answer
        await self._write(self._take(), last=True)

    def close(self) -> None:
        self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    def _take(self) -> bytes:
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._size = 0
        return data

    async def _write(self, data: bytes, *, last: bool = False) -> None:
        self._writing = True
        try:
            # Neither call waits for anything but the client's reading, and that only after
            # it has written: a comment cannot come between the two, or into an event.
            if not self.response.prepared:
                await self.response.prepare(self._request)
            await (self.response.write_eof if last else self.response.write)(data)
        except ConnectionError:
            raise _ClientGoneError from None
        finally:
            self._writing = False
            self._due = self._loop.time() + self._keepalive

    def _on_timer(self) -> None:
        if self._due <= self._loop.time():
            self._due = self._loop.time() + self._keepalive
            self._comment = self._loop.create_task(self._write_comment())
        self._timer = self._loop.call_at(self._due, self._on_timer)

    async def _write_comment(self) -> None:
        # While a write waits for the client there is something on its way already.
        if not self._writing:
            # If the client has gone, the handler is told by its cancellation.
            with suppress(_ClientGoneError):
                await self._write(_COMMENT)
