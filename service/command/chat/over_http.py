"""Chat by OpenAI's HTTP API."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ...errors import UpstreamInvalid
from ...upstream.sse import EventReader
from ..arguments import Failure
from .server import BROKEN, Piece, Turn, one_line

_CONNECT_SECONDS = 10


def tls_context(
    ca: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext | None:
    """None means what the machine trusts. Raises OSError for files that do not fit."""
    if ca is None and certificate is None:
        return None
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


class HttpServer:
    """A Diglot, or any other server of OpenAI's API."""

    def __init__(self, url: str, key: str | None, tls: ssl.SSLContext | None = None) -> None:
        """Raises ValueError if `url` is none."""
        self.place = url if "://" in url else f"http://{url}"
        if not _is_url(self.place):
            raise ValueError(f"--http {url} is not a URL like http://127.0.0.1:8080")
        base = self.place.rstrip("/")
        self._base = base if base.endswith("/v1") else f"{base}/v1"
        self._tls: ssl.SSLContext | bool = tls or True
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client: aiohttp.ClientSession | None = None

    async def models(self) -> list[str]:
        with self._failures():
            async with self._session().get(
                f"{self._base}/models", allow_redirects=False
            ) as response:
                await self._check(response)
                body = await response.json(content_type=None)
        try:
            return [str(entry["id"]) for entry in body["data"]]
        except (TypeError, KeyError):
            raise Failure(f"{self.place} does not list models as OpenAI's API does") from None

    async def answer(self, model: str, turns: Sequence[Turn]) -> AsyncGenerator[Piece, None]:
        request = {"model": model, "messages": [asdict(turn) for turn in turns], "stream": True}
        with self._failures():
            response = await self._session().post(
                f"{self._base}/chat/completions", json=request, allow_redirects=False
            )
            try:
                await self._check(response)
                if response.content_type != "text/event-stream":
                    raise Failure(f"{self.place} does not stream its answer")
                async for piece in _pieces(response.content):
                    yield piece
            finally:
                # Not release(): closing is how the server learns that nobody listens.
                response.close()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                # The loop rests while a person types, and would not notice a closed connection.
                connector=aiohttp.TCPConnector(force_close=True, ssl=self._tls),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                headers=self._headers,
            )
        return self._client

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 200:
            return
        said = _message(await response.text(errors="replace")) or response.reason or ""
        hint = ""
        if response.status == 401 and not self._headers:
            hint = " (a key goes into DIGLOT_API_KEY or --key-file)"
        raise Failure(f"{response.status}: {one_line(said)}{hint}")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Failure(f"cannot reach {self.place}: {one_line(_cause(error))}") from error
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError) as error:
            raise Failure(BROKEN) from error
        except aiohttp.ClientResponseError as error:  # of what it says, not of a status
            raise Failure(
                f"{self.place} is no HTTP server; if it is a gRPC port, use --grpc"
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise Failure(
                f"{self.place} does not speak OpenAI's API: {one_line(str(error))}"
            ) from error


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        return False


def _cause(error: aiohttp.ClientError) -> str:
    """The operating system's own words, where it is the one that refused."""
    if type(error) is aiohttp.ClientConnectorError and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return error.os_error.strerror or str(error)
    return str(error)


async def _pieces(content: aiohttp.StreamReader) -> AsyncGenerator[Piece, None]:
    """Raises Failure unless the stream says that it is complete."""
    reader = EventReader()
    complete = False
    try:
        async for data in content.iter_any():
            for event in reader.feed(data):
                if event == b"[DONE]":
                    return
                piece = _piece(event)
                complete = complete or bool(piece.finish)
                yield piece
    except UpstreamInvalid as error:
        raise Failure(one_line(str(error))) from error
    if not complete:
        raise Failure(BROKEN)


def _piece(event: bytes) -> Piece:
    try:
        chunk = json.loads(event)
        if chunk.get("error"):
            raise Failure(one_line(_message(event.decode("utf-8", "replace")) or "it failed"))
        if not chunk.get("choices"):
            return Piece()
        choice = chunk["choices"][0]
        delta: dict[str, Any] = choice.get("delta") or {}
        return Piece(
            text=str(delta.get("content") or delta.get("refusal") or ""),
            thought=str(delta.get("reasoning_content") or ""),
            finish=str(choice.get("finish_reason") or ""),
        )
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        raise Failure("the server sent something that is no piece of an answer") from None


def _message(body: str) -> str:
    """What an error body says, however it says it."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return "" if "<html" in body.lower() else body
