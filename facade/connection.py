"""What happens to a connection below the application.

When it is not HTTP that arrives, or more of it than is taken: broken request lines, headers over
8 KiB and the like never reach an application. aiohttp answers them in plain text, and logs each
with a traceback, as if it were the server's fault. Here they get an error like any other, and a
short line in the log, as whatever is refused before a call.

When nothing arrives, or too slowly; and when nothing is read: both are cut off.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from diglot.v1 import error_pb2

from .body import unknown_coding, wrongly_coded
from .errors import Refusal, from_refusal
from .refused import log_refused
from .request_id import REQUEST_ID, request_id
from .response import JsonResponse

Handler: TypeAlias = Callable[[Any], Awaitable[web.StreamResponse]]
HANDLER: web.AppKey[Handler] = web.AppKey("handler")
"""Answers all requests of an application, in the place of the application itself."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may keep a connection waiting, in seconds."""

    headers: float
    """For the headers of its first request; those of the next ones have the keep-alive time."""
    reading: float
    """Before it reads on."""


# Bytes that must be read in the time for reading. A drop now and then is not reading.
_SIP = 16 * 2**10
_UNIX = getattr(socket, "AF_UNIX", None)

# In bytes. Not the same, as aiohttp tells which of its limits was passed only by the number.
_LONGEST_TARGET = 8190
_LONGEST_HEADER = 8192
_MOST_HEADERS = 128
# aiohttp's words, and only those, tell these from other mistakes.
_TOO_MANY_HEADERS = "Too many headers received"
_UNKNOWN_CODING = re.compile(r"\((br|zstd)\)")


class Connection(RequestHandler):
    """One client's."""

    __slots__ = ("_arrival", "_asked", "_heard", "_looks", "_patience", "_stall", "_unread")

    def __init__(self, manager: web.Server, patience: Patience, **options: Any) -> None:
        super().__init__(
            manager,
            max_line_size=_LONGEST_TARGET,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
            **options,
        )
        self._patience = patience
        self._heard = False
        self._arrival: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._unread = 0
        self._asked = -1
        self._looks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arrival = self._loop.call_later(self._patience.headers, self._on_late)
        sock = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT") and sock is not None and sock.family != _UNIX:
            # For what is sent and not read, be it less than would make a writer wait; and for
            # clients that vanished without a word. Only Linux has it.
            limit = int(1000 * self._patience.reading)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)

    def connection_lost(self, error: BaseException | None) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
        if self._stall is not None:
            self._stall.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)
        if self._messages and type(error := self._messages[-1][0]) is _ErrInfo:
            self._on_broken(error.exc)

    def _on_broken(self, error: BaseException) -> None:
        """Tells who waits for the rest of a body. aiohttp only queues the error, behind it."""
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(error)

    def resume_reading(self, *args: Any, **options: Any) -> None:
        # Asked for with each piece of a body that is taken, and dear also where nothing rests.
        if self._reading_paused:
            super().resume_reading(*args, **options)

    def _on_late(self) -> None:
        transport = self.transport
        if self._request_count or transport is None:
            return
        # To who has said nothing an answer would be the answer to what it is about to say.
        if self._heard:
            transport.write(_too_late())
        self.force_close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()

    def _watch(self) -> None:
        if self.transport is not None:
            self._unread = self.transport.get_write_buffer_size()
            self._stall = self._loop.call_later(self._patience.reading, self._on_stalled)

    def _on_stalled(self) -> None:
        transport = self.transport
        if transport is None:
            return
        if self._unread - transport.get_write_buffer_size() >= _SIP:
            self._watch()
        else:
            # As if it had left: what it was sent will never be read, and nothing more is made.
            transport.abort()

    def close_if_silent(self, looks: int) -> None:
        """Closes it where it has waited for the same request at so many looks in a row."""
        waiting = self._waiter is not None and not self._waiter.done()
        if not waiting or self._asked != self._request_count:
            self._asked = self._request_count
            self._looks = 0
            return
        self._looks += 1
        if self._looks >= looks:
            self.force_close()

    def cancel_answer(self) -> None:
        """Cancels what is under way, be it only the writing of it."""
        if self._request_in_progress and self._task_handler is not None:
            self._task_handler.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, HttpProcessingError):
            return _last_answer(_refusal_of(exc))
        return super().handle_error(request, status, exc, message)

    def log_exception(self, *args: Any, exc_info: Any = None, **options: Any) -> None:
        # The rest of a body that nobody wanted, and that is not encoded as its headers say.
        if not isinstance(exc_info, HttpProcessingError | web.RequestPayloadError):
            super().log_exception(*args, exc_info=exc_info, **options)


class _Server(web.Server):
    def __init__(
        self, handler: Handler, server: web.Server, patience: Patience, options: dict[str, Any]
    ) -> None:
        super().__init__(handler, request_factory=server.request_factory, **options)
        self._patience = patience

    def __call__(self) -> RequestHandler:
        return Connection(self, self._patience, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An AppRunner with our own connections."""

    def __init__(self, app: web.Application, patience: Patience, **options: Any) -> None:
        super().__init__(app, **options)
        self._patience = patience

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        handler = self.app.get(HANDLER, server.request_handler)
        return _Server(handler, server, self._patience, self._kwargs)


def _too_late() -> bytes:
    refusal = Refusal(
        error_pb2.ERROR_REASON_REQUEST_TIMEOUT,
        "The headers of your request took longer to arrive than the server allows.",
    )
    error = from_refusal(refusal)
    name = request_id(None)
    log_refused(name, refusal.reason)
    headers = {
        **error.headers,
        "x-request-id": name,
        "Server": "diglot",
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(error.body)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + error.body


def not_http() -> JsonResponse:
    return _last_answer(_not_http())


def _not_http() -> Refusal:
    return Refusal(error_pb2.ERROR_REASON_INVALID_VALUE, "This is not a valid HTTP request.")


def _refusal_of(error: HttpProcessingError) -> Refusal:
    # aiohttp's own text quotes what was sent, keys included.
    match error:
        case LineTooLong(args=(_, limit, *_)) if limit == _LONGEST_TARGET:
            return Refusal(
                error_pb2.ERROR_REASON_URL_TOO_LONG,
                f"The URL of your request is longer than {limit} bytes.",
            )
        case LineTooLong():
            return Refusal(
                error_pb2.ERROR_REASON_HEADERS_TOO_LARGE,
                f"A header of your request is longer than {_LONGEST_HEADER} bytes.",
            )
        case ContentEncodingError():
            found = _UNKNOWN_CODING.search(error.message)
            return wrongly_coded() if found is None else unknown_coding(found[1])
    if error.message == _TOO_MANY_HEADERS:
        return Refusal(
            error_pb2.ERROR_REASON_HEADERS_TOO_LARGE,
            f"Your request has more than {_MOST_HEADERS} headers.",
        )
    return _not_http()


def _last_answer(refusal: Refusal) -> JsonResponse:
    error = from_refusal(refusal)
    name = request_id(None)
    REQUEST_ID.set(name)
    log_refused(name, refusal.reason)
    response = JsonResponse(error.body, error.status, error.headers)
    response.force_close()
    return response
