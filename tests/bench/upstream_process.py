"""The planned upstream in a process of its own, and its books."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from .planned_upstream import Entry

_PROGRAM = Path(__file__).with_name("planned_upstream.py")


class Books:
    """The ledger of an upstream in another process."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._session = session

    async def entry(self, name: str, *, produced: int = 0, over: bool = False) -> Entry:
        """Once it has produced so much and, if so wanted, its connection is closed, or it has
        come to its end."""
        asked = {"name": name, "produced": produced, "over": over}
        return Entry(**(await self._ask("wait", asked))[name])

    async def ledger(self) -> dict[str, Entry]:
        return {name: Entry(**entry) for name, entry in (await self._ask("ledger", {})).items()}

    async def forget(self) -> None:
        await self._ask("forget", {})

    async def _ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        url = self.base_url.replace("/v1", f"/{what}")
        async with self._session.post(url, json=body) as response:
            found: dict[str, Any] = await response.json()
            return found


@asynccontextmanager
async def upstream_process() -> AsyncIterator[Books]:
    """In a process of its own, which ends with ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_PROGRAM), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
        ) as session:
            yield Books(port, session)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
