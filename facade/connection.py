"""What aiohttp says when it is not HTTP that arrives.

Broken request lines, headers over 8 KiB and the like never reach an application. aiohttp
answers them in plain text, and logs each with a traceback, as if it were the server's
fault. Here they get an error like any other, and no line in the log.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from diglot.v1 import error_pb2

from .errors import Refusal, from_refusal
from .request_id import request_id


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, HttpProcessingError):
            return _not_http()
        return super().handle_error(request, status, exc, message)


class _Server(web.Server):
    def __init__(self, server: web.Server, options: dict[str, Any]) -> None:
        super().__init__(self._handle, request_factory=server.request_factory, **options)
        self._application = server.request_handler

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._application(request)
        # An Expect that aiohttp does not know fails before any middleware; with a UnicodeError,
        # where the refusal cannot be written down.
        except (web.HTTPExpectationFailed, UnicodeError):
            return _not_http()


class Runner(web.AppRunner):
    """An AppRunner with our own connections."""

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._kwargs)


def _not_http() -> web.Response:
    # aiohttp's own text quotes what was sent, keys included.
    refusal = Refusal(error_pb2.ERROR_REASON_INVALID_VALUE, "This is not a valid HTTP request.")
    error = from_refusal(refusal)
    response = web.Response(
        status=error.status,
        headers={**error.headers, "x-request-id": request_id(None), "Server": "diglot"},
        body=error.body,
        content_type="application/json",
    )
    response.force_close()
    return response
