"""A file over HTTP, from where an earlier attempt ended."""

from __future__ import annotations

import re

import aiohttp
from aiohttp import hdrs
from yarl import URL

from .errors import ModelStoreError
from .gguf import MAGIC
from .http import CONNECTION_FAULTS, HttpRefusal, fault
from .part import PartFile
from .progress import Progress

_LINKED_ETAG = "X-Linked-Etag"  # Hugging Face: what the redirect's target will be
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_CHUNK = 2**20


class Transfer:
    """Of one URL into one part file."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        part: PartFile,
        progress: Progress,
        origin: str,
    ) -> None:
        self.reported_sha256: str | None = None
        """The content's SHA-256 where the server said so."""
        self._session = session
        self._url = url
        self._part = part
        self._progress = progress
        self._origin = origin

    async def run(self) -> None:
        """Until all is there, or an attempt brought nothing new."""
        await self._part.resume()
        furthest = self._part.size
        while True:
            try:
                if await self._attempt():
                    return
            except CONNECTION_FAULTS as error:
                if self._part.size <= furthest:
                    raise ModelStoreError(self._cut(error)) from error
                furthest = self._part.size

    def _cut(self, error: Exception) -> str:
        advice = "check the connection, then try again"
        if self._part.size and self._part.validator:
            kept = f"{self._part.size / 1e6:.0f} MB are kept"
            advice = f"{kept}, and the next try goes on from there"
        return f"{self._origin} cannot be fetched: {fault(error)}; {advice}"

    async def _attempt(self) -> bool:
        """Whether it is all there now; if not, what was there is of no use any more."""
        part = self._part
        headers = {}
        if part.size and part.validator:
            headers = {hdrs.RANGE: f"bytes={part.size}-", hdrs.IF_RANGE: part.validator}
        async with self._session.get(self._url, headers=headers) as response:
            self._note_sha256(response)
            start, total = _range_of(response)
            if response.status == 200:
                await part.restart(_validator_of(response))
                total = response.content_length
            elif headers and response.status == 416 and total == part.size:
                return True
            elif headers and response.status in (206, 416):
                if response.status == 416 or start != part.size:
                    await part.restart(None)
                    return False
            else:
                raise HttpRefusal(self._origin, response.status, response.reason)
            await self._receive(response, total)
        return True

    async def _receive(self, response: aiohttp.ClientResponse, total: int | None) -> None:
        part = self._part
        if total is not None:
            part.reserve(total)
        self._progress(part.size, total)
        # Few and long writes; but the first early, so that a wrong file is refused at once.
        enough = 0 if part.size else len(MAGIC)
        pending = bytearray()
        try:
            async for data in response.content.iter_any():
                pending += data
                self._progress(part.size + len(pending), total)
                if len(pending) >= (enough or _CHUNK):
                    await _flush(pending, part)
                    if enough:
                        part.check_magic(self._origin)
                        enough = 0
        finally:
            await _flush(pending, part)
        if total is not None and part.size != total:
            raise aiohttp.ClientPayloadError(f"it ended after {part.size} of {total} bytes")

    def _note_sha256(self, response: aiohttp.ClientResponse) -> None:
        for answer in (*response.history, response):
            linked = answer.headers.get(_LINKED_ETAG, "").removeprefix("W/").strip('"')
            if _SHA256.fullmatch(linked):
                self.reported_sha256 = linked
                return


async def _flush(pending: bytearray, part: PartFile) -> None:
    data = bytes(pending)
    pending.clear()
    if data:
        await part.write(data)


def _range_of(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    """Where a partial answer begins, and how long the whole is."""
    match = _RANGE.fullmatch(response.headers.get(hdrs.CONTENT_RANGE, ""))
    if match is None:
        return None, None
    return (None if match[1] is None else int(match[1])), int(match[2])


def _validator_of(response: aiohttp.ClientResponse) -> str | None:
    """What If-Range may carry: not a weak ETag, which two different contents may share."""
    etag = response.headers.get(hdrs.ETAG, "")
    validator = etag if etag.startswith('"') else response.headers.get(hdrs.LAST_MODIFIED, "")
    return validator if validator.isascii() and validator.isprintable() else None
