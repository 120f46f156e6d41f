"""An HTTP client that does little, so that it is the server that is measured.

It knows just enough HTTP/1.1 for the servers under test: an answer has a length or comes in
chunks, whose data never holds a carriage return.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

from .load import Tally

_EVENT = b"data: {"
_LAST_CHUNK = b"0\r\n\r\n"
_KEPT = 2048


class RefusedError(RuntimeError):
    """The answer is an error, and the connection is good for the next question."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__(f"answered {answer!r}")
        self.status = status


class HttpClient:
    """`address` is HOST:PORT. Asks with POST."""

    def __init__(
        self,
        address: str,
        key: str,
        body: dict[str, Any],
        *,
        path: str = "/v1/chat/completions",
        headers: Mapping[str, str] | None = None,
        keep_alive: bool = True,
    ) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._keep_alive = keep_alive
        self._idle: list[_Connection] = []
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1",
            f"Host: {address}",
            f"Authorization: Bearer {key}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        )
        self._request = "\r\n".join((*head, "", "")).encode() + content

    async def ask(self, tally: Tally, due: float) -> None:
        await self.answer(tally, due)

    async def answer(self, tally: Tally, due: float) -> bytes:
        """The end of the answer's body: all of it, unless it is long."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                break
        else:
            connection = await self._connect()
        kept = False
        try:
            end = await connection.exchange(self._request, tally, due)
            kept = self._keep_alive
        except RefusedError:
            kept = self._keep_alive
            raise
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return end

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


class _Connection(asyncio.Protocol):
    """One answer at a time."""

    def __init__(self) -> None:
        self.open = True
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[bytes] | None = None
        self._tally = Tally()
        self._head = b""
        self._missing: int | None = None
        self._end = b""
        self._last = 0.0
        self._first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def exchange(self, request: bytes, tally: Tally, due: float) -> asyncio.Future[bytes]:
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._tally, self._head, self._end = tally, b"", b""
        self._last, self._first = due, True
        self._transport.write(request)
        return self._done

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._head.endswith(b"\r\n\r\n"):
            head, blank, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = head + blank
            if not blank:
                return
            _, named, length = head.lower().partition(b"\r\ncontent-length:")
            self._missing = int(length.partition(b"\r\n")[0]) if named else None
        # What the last piece ended with may be the beginning of what is looked for.
        known = self._end[1 - len(_EVENT) :]
        chunks = (known + data).count(_EVENT)
        if chunks:
            self._last = self._tally.arrived(chunks, self._last, first=self._first)
            self._first = False
        self._end = (self._end + data)[-_KEPT:]
        if self._missing is None:
            if self._end.endswith(_LAST_CHUNK):
                self._finish()
        else:
            self._missing -= len(data)
            if self._missing <= 0:
                self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError(f"no answer, but {error or 'the end'}"))

    def _finish(self) -> None:
        if self._done is None or self._done.done():
            return
        status = int(self._head.split(b" ", 2)[1])
        if status == 200 and b'"error":' not in self._end:
            self._done.set_result(self._end)
        else:
            self._done.set_exception(RefusedError(status, self._head + self._end))
