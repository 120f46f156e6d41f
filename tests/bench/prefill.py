"""The embedded model's batch: how late it notices who has left, and how fast it reads.

llama.cpp's server alone, started with each batch size: what Diglot's choice was made by.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from diglot.service.embedded.child_settings import ChildSettings
from diglot.service.embedded.cores import usable_cores
from diglot.service.embedded.supervisor import LlamaChild

from .cancel_prefill import SPINNING, busy_with
from .command import run
from .effort import Effort
from .load import percentile
from .servers import State, state
from .table import Figure, Table

BATCHES = (32, 64, 128, 256)
CANCELS = 5
_CONTEXT = 2048
_WORDS = 1800
_MEASURED_WORDS = 600


@dataclass(frozen=True, slots=True)
class _Settings(ChildSettings):
    batch: int = 64

    @property
    def batch_tokens(self) -> int:
        return self.batch


@dataclass
class _Llama:
    url: str
    headers: dict[str, str]
    session: aiohttp.ClientSession
    asked: int = 0

    async def read_prompt(self) -> float:
        """How many tokens of a prompt it reads in a second."""
        found = await self._answer(self._prompt(_MEASURED_WORDS), max_tokens=1)
        timings = found["timings"]
        return float(timings["prompt_n"]) / float(timings["prompt_ms"]) * 1000

    async def leave(self, after: float) -> float:
        """Seconds from leaving in the middle of a prompt to another one's token, less what that
        takes when nobody was there before it."""
        alone = await self._one_token()
        reading = asyncio.ensure_future(self._stream(self._prompt(_WORDS)))
        await asyncio.sleep(after)
        left = time.perf_counter()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await self._one_token()
        return max(time.perf_counter() - left - alone, 0)

    def _prompt(self, words: int) -> str:
        self.asked += 1  # so that no cache knows its beginning
        return f"{self.asked}: " + "word " * words

    async def _one_token(self) -> float:
        began = time.perf_counter()
        await self._answer("Hi", max_tokens=1)
        return time.perf_counter() - began

    async def _answer(self, content: str, **body: Any) -> dict[str, Any]:
        asked = {"messages": [{"role": "user", "content": content}], **body}
        async with self.session.post(self.url, json=asked, headers=self.headers) as response:
            response.raise_for_status()
            found: dict[str, Any] = json.loads(await response.text())
            return found

    async def _stream(self, content: str) -> None:
        asked = {
            "messages": [{"role": "user", "content": content}],
            "stream": True,
            "return_progress": True,
        }
        async with self.session.post(self.url, json=asked, headers=self.headers) as response:
            async for _ in response.content:
                pass


def _file(here: State) -> Path:
    (file,) = (here.directory / "models").glob("*.gguf")
    return file


@asynccontextmanager
async def _llama(batch: int) -> AsyncIterator[_Llama]:
    async with state(with_models=True) as here:
        child = LlamaChild(_Settings(_file(here), _CONTEXT, 1, usable_cores(), batch=batch))
        await child.start()
        try:
            await child.readiness.wait()
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True)
            ) as session:
                headers = {"Authorization": f"Bearer {child.api_key}"}
                yield _Llama(f"{child.base_url}/chat/completions", headers, session)
        finally:
            await child.close()


async def tables(effort: Effort) -> list[Table]:
    """Quiet and busy in turns, each batch size beside the others."""
    cancels = effort.count(CANCELS, 1)
    took: dict[tuple[int, int], list[float]] = {}
    speed: dict[int, list[float]] = {}
    async with AsyncExitStack() as running:
        llamas = {batch: await running.enter_async_context(_llama(batch)) for batch in BATCHES}
        for number in range(cancels):
            for busy in (0, SPINNING):
                async with busy_with(busy):
                    for batch, llama in llamas.items():
                        found = took.setdefault((batch, busy), [])
                        found.append(await llama.leave(0.2 + 0.03 * number))
                        print(
                            f"prefill: {batch} tokens, {busy} busy: {found[-1]:.2f} s",
                            file=sys.stderr,
                            flush=True,
                        )
            for batch, llama in llamas.items():
                speed.setdefault(batch, []).append(await llama.read_prompt())
    rows = tuple(
        (
            str(batch),
            Figure((median(took[batch, 0]),), 2),
            Figure((percentile(took[batch, 0], 99) / 1000,), 2),
            Figure((median(took[batch, SPINNING]),), 2),
            Figure((percentile(took[batch, SPINNING], 99) / 1000,), 2),
            Figure(tuple(speed[batch]), 0),
        )
        for batch in BATCHES
    )
    note = (
        "Seconds from leaving while a long prompt is read to the slot being free, "
        f"{cancels} times; busy with {SPINNING} other processes that take what they can."
    )
    columns = ("tokens a batch", "p50", "p99", "busy, p50", "busy, p99", "prompt tokens/s")
    return [Table("Cancel in the embedded model's prefill", note, columns, rows)]


if __name__ == "__main__":
    run(prefill=tables)
