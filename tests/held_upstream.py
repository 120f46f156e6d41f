"""A model whose answers the test holds in its hand, to have calls where it wants them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

QUICK = "quick"
"""What is asked so is answered soon."""
SILENT = "silent"
"""What is asked so gets nothing before the release."""
TALKING = "talking"
"""What is asked so gets its first word, and the rest after the release."""

ANSWER = "one two"


@dataclass
class HeldUpstream:
    """An OpenAI-compatible server. Who asks is known by the base URL that it was given."""

    port: int = 0
    arrived: list[tuple[str, str]] = field(default_factory=list)
    """Who asked, and what; a call that was repeated comes twice."""
    _gone: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def base_url(self, asker: str) -> str:
        return f"http://127.0.0.1:{self.port}/{asker}/v1"

    def release(self) -> None:
        """Answers whatever is held, and from now on everything at once."""
        self._released.set()

    def hold(self) -> None:
        """Takes the release back, and forgets who came and went."""
        self._released.clear()
        self.arrived.clear()
        self._gone = 0

    async def asked(self, question: str, times: int) -> None:
        """Returns once the question came so often."""
        while sum(asked == question for _, asked in self.arrived) < times:
            self._news.clear()
            await self._news.wait()

    async def left(self, times: int) -> None:
        """Returns once so many have left whose answer was held."""
        while self._gone < times:
            self._news.clear()
            await self._news.wait()

    def askers(self, question: str) -> Counter[str]:
        """How often each asked."""
        return Counter(asker for asker, asked in self.arrived if asked == question)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        question = (await request.json())["messages"][-1]["content"].split()[0]
        self.arrived.append((request.match_info["asker"], question))
        self._news.set()
        try:
            return await self._say(request, question)
        except asyncio.CancelledError:
            self._gone += 1
            self._news.set()
            raise

    async def _say(self, request: web.Request, question: str) -> web.StreamResponse:
        if question == SILENT:
            await self._released.wait()
        if question == QUICK:
            # Callers that ask without a pause are to leave time to servers that start meanwhile.
            await asyncio.sleep(0.03)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_event({"role": "assistant", "content": "one"}))
        if question == TALKING:
            await self._released.wait()
        await response.write(_event({"content": " two"}) + _event({}, "stop"))
        await response.write(b"data: [DONE]\n\n")
        return response


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"


@asynccontextmanager
async def held_upstream(port: int = 0) -> AsyncIterator[HeldUpstream]:
    upstream = HeldUpstream()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/{asker}/v1/chat/completions", upstream.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)  # 0 means for ever
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    upstream.port = runner.addresses[0][1]
    try:
        yield upstream
    finally:
        await runner.cleanup()
