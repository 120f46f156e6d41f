"""A server of one model file, as well or badly as a test wants, and what pulling from it leaves."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from diglot.service.model_store import ModelStore, ModelStoreError

CONTENT = b"GGUF" + random.Random(0).randbytes(3_500_000)
OTHER = b"GGUF" + random.Random(1).randbytes(2_000_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class FileServer:
    """Serves one content at every path, as well or badly as the test wants."""

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"first"'
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the connection breaks, one answer after the other."""
    shift: int = 0
    """How far its ranges are off."""
    length: int | None = None
    """What it says its length is, if that is not so."""
    redirect: str | None = None
    repository: object = None
    """What the API says is there."""
    linked_etag: str | None = None
    hold: asyncio.Event | None = None
    """What to wait for in the middle of an answer."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Set in the middle of an answer that waits."""
    seen: list[tuple[str, CIMultiDictProxy[str]]] = field(default_factory=list)
    """Paths and headers of the requests."""

    @property
    def starts(self) -> list[int]:
        """Where the ranges began that it was asked for."""
        ranges = [headers.get("Range", "bytes=0-") for _, headers in self.seen]
        return [int(each.removeprefix("bytes=").removesuffix("-")) for each in ranges]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers))
        if self.status != 200:
            return web.Response(status=self.status)
        if request.path.startswith("/api/"):
            return web.json_response(self.repository)
        headers = {} if self.linked_etag is None else {"X-Linked-Etag": f'"{self.linked_etag}"'}
        if self.redirect is not None:
            return web.Response(status=302, headers={**headers, "Location": self.redirect})
        return await self._send(request, headers)

    async def _send(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        start, status = 0, 200
        if self.etag is not None:
            headers["ETag"] = self.etag
        if "Range" in request.headers and request.headers["If-Range"] == self.etag:
            start, status = self.starts[-1] + self.shift, 206
            last = f"{start}-{len(self.content) - 1}" if start < len(self.content) else "*"
            headers["Content-Range"] = f"bytes {last}/{len(self.content)}"
            if last == "*":
                return web.Response(status=416, headers=headers)
        data = self.content[start:]
        headers["Content-Length"] = str(self.length or len(data))
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else None
        for begin in range(0, len(data[:cut]), 100_000):
            await response.write(data[begin : min(begin + 100_000, cut or len(data))])
            if self.hold is not None and begin >= len(data) // 2:
                self.held.set()
                await self.hold.wait()
        if cut is not None and request.transport is not None:
            request.transport.close()
        return response


@asynccontextmanager
async def serving(server: FileServer) -> AsyncIterator[FileServer]:
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


@dataclass
class Steps:
    """A progress that remembers."""

    told: list[tuple[int, int | None]] = field(default_factory=list)

    def __call__(self, done: int, total: int | None) -> None:
        self.told.append((done, total))


async def refusal(store: ModelStore, name: str) -> str:
    """What pull says when it cannot: one line."""
    with pytest.raises(ModelStoreError) as caught:
        await store.pull(name, Steps())
    text = str(caught.value)
    assert text.isprintable()
    return text


def left(directory: Path) -> list[str]:
    """The endings of the files there, but for lock files."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return sorted("".join(path.suffixes) for path in files)
