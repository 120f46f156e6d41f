"""Answers in JSON."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import HttpVersion10, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

from . import to_json
from .request_id import REQUEST_ID


class JsonResponse(web.StreamResponse):
    """An answer that is there as a whole, and says of itself only what all of them say.

    It writes its head by itself, and in one piece with the body. That aiohttp's own Response can
    do much more than that costs a request as much as half of what else aiohttp does for it.
    """

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """`headers` are ours: ASCII, and nothing that a client has said."""
        super().__init__(status=status, headers=headers)
        self._content = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Sends all of it."""
        keep_alive = self._keep_alive
        if keep_alive is None:
            keep_alive = self._keep_alive = request.keep_alive
        version = request.version
        head = (
            f"HTTP/{version.major}.{version.minor} {self._status} {self._reason}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(self._content)}\r\n"
            f"x-request-id: {REQUEST_ID.get()}\r\n"
            f"Date: {rfc822_formatted_time()}\r\n"
            # Instead of the versions of everything that could be attacked.
            "Server: diglot\r\n"
        )
        if self._headers:
            head += "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        if not keep_alive:
            head += "Connection: close\r\n"
        elif version == HttpVersion10:
            head += "Connection: keep-alive\r\n"
        data = f"{head}\r\n".encode()
        if request.method != hdrs.METH_HEAD:
            data += self._content
        writer = request.writer
        await writer.write_eof(data)
        self._eof_sent = True
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """It is written."""


def json_response(body: to_json.Json) -> JsonResponse:
    return JsonResponse(to_json.dumps(body))
