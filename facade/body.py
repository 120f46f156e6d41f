"""The body of a request: refused early, and never read beyond what is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from diglot.v1 import error_pb2

from .errors import Refusal

_Bytes = TypeVar("_Bytes", bytes, bytearray)

_JSON = "application/json"
# What aiohttp undoes wherever it is installed.
_CODINGS = frozenset({"gzip", "deflate", "identity", ""})
# Up to here a body is read before anyone knows whether its sender has a key.
_UNCHECKED = 64 * 2**10
# Bytes a second.
_SLOWEST = 64 * 2**10


async def defer_continue(request: web.Request) -> None:
    """An expect handler that leaves "100 Continue" to read_body.

    Who announces 40 MB and waits for leave gets the refusal instead.
    """


async def read_body(
    request: web.Request,
    limit: int,
    timeout: float,
    check: Callable[[web.Request], Awaitable[None]],
) -> bytes | bytearray:
    """The JSON text, decompressed. `check` is awaited before anything large is read.

    It may take `timeout` seconds to arrive, and longer where it is large: what comes in drips is
    cut off, what comes over a slow line is not.
    """
    # Not request.content_type: that fails on some nonsense.
    kind = request.headers.get(hdrs.CONTENT_TYPE, _JSON)
    if kind != _JSON and kind.partition(";")[0].strip().lower() != _JSON:
        raise Refusal(
            error_pb2.ERROR_REASON_UNSUPPORTED_MEDIA_TYPE,
            "The Content-Type of your request must be application/json.",
        )
    if hdrs.CONTENT_ENCODING in request.headers:
        coding = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING))
        if coding.lower() not in _CODINGS:
            raise unknown_coding(coding)
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(limit)
    if length is None or length > _UNCHECKED:
        await check(request)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await _continue(request)
    try:
        if request.content.is_eof():
            return _small(request.content.read_nowait(), limit)
        async with asyncio.timeout(timeout) as allowed:
            return await _read(request, limit, allowed)
    except TimeoutError:
        raise Refusal(
            error_pb2.ERROR_REASON_REQUEST_TIMEOUT,
            "The body of your request took longer to arrive than the server allows.",
        ) from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise wrongly_coded() from None


async def _read(request: web.Request, limit: int, allowed: asyncio.Timeout) -> bytearray:
    body = bytearray()
    while piece := await request.content.readany():
        body += piece
        _small(body, limit)
        if (until := allowed.when()) is not None:
            allowed.reschedule(until + len(piece) / _SLOWEST)
    return body


def _small(body: _Bytes, limit: int) -> _Bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _continue(request: web.Request) -> None:
    # As aiohttp's own expect handler does it.
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def unknown_coding(coding: str) -> Refusal:
    shown = coding if len(coding) <= 100 else coding[:100] + "…"
    return Refusal(
        error_pb2.ERROR_REASON_UNSUPPORTED_MEDIA_TYPE,
        f"The Content-Encoding of your request, '{shown}', is not supported: it must be gzip or "
        "deflate, or none.",
        headers={"Accept-Encoding": "gzip, deflate"},
    )


def wrongly_coded() -> Refusal:
    return Refusal(
        error_pb2.ERROR_REASON_INVALID_JSON,
        "The body of your request is not encoded as its headers say.",
    )


def _too_large(limit: int) -> Refusal:
    return Refusal(
        error_pb2.ERROR_REASON_REQUEST_TOO_LARGE,
        f"The body of your request is larger than {limit} bytes.",
    )
