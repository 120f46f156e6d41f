"""Several workers behind the same ports, seen from outside, and callers that use all of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import grpc
import openai
from processes import children_of
from serving import ask
from serving_process import Server

from diglot.v1.chat_pb2_grpc import ChatServiceStub

# Each channel a connection of its own, as those of different clients are.
OWN = [("grpc.use_local_subchannel_pool", 1)]
T = TypeVar("T")

CALLERS = 6
# So that calls are under way at any moment, and leave the machine to the servers that start.
SLOWLY: dict[str, Any] = {"interval_ms": 40}
BURST = 8

WORDS = "a b c d e f g h"
SCRIPTED = '[[models]]\nkind = "scripted"\n'


def write(directory: Path, models: str = SCRIPTED, more: str = "store.enabled = false") -> Path:
    file = directory / "diglot.toml"
    file.write_text(f'state = "{directory}"\nworkers = 2\nauth.enabled = false\n{more}\n{models}')
    return file


def workers_of(server: Server) -> list[int]:
    return [pid for pid in children_of(server.process.pid) if ".workers.worker" in command(pid)]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


async def over_http(
    server: Server,
    content: str = "hello there",
    headers: dict[str, str] | None = None,
    **body: object,
) -> str:
    """On a connection of its own. Raises ClientError."""
    asked = {"model": "scripted", "messages": [{"role": "user", "content": content}], **body}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{server.http}/chat/completions", json=asked) as answer,
    ):
        text = await answer.text()
        assert answer.status == 200, text
        return text


async def over_grpc(server: Server, content: str = "hello there", **script: object) -> str:
    async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:
        chunks = ChatServiceStub(channel).StreamChatCompletion(
            ask(content, script=script or None), wait_for_ready=True
        )
        return "".join([chunk.choices[0].delta.content async for chunk in chunks])


async def until_both_answered(server: Server, once: Callable[[], Awaitable[T]]) -> list[T]:
    """Asks until the log has completions of both workers."""
    answers: list[T] = []
    seen: set[str] = set()
    while seen != {"1", "2"}:
        answers += await asyncio.gather(*(once() for _ in range(BURST)))
        for _ in range(BURST):
            line = await server.logged("chat: completion")
            seen.update(re.findall(r"worker=(\d)", line))
    return answers


class Asking:
    """Streams of eight words, and how many of them have begun."""

    def __init__(self) -> None:
        self._begun = asyncio.Semaphore(0)

    async def begun(self, count: int) -> None:
        for _ in range(count):
            await self._begun.acquire()

    async def http(self, server: Server, interval_ms: int = 60) -> str:
        text, begun = "", False
        async with openai.AsyncOpenAI(base_url=server.http, api_key="x", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": WORDS}],
                stream=True,
                extra_body={"scripted": {"interval_ms": interval_ms}},
            )
            async for chunk in stream:
                if not begun:
                    self._begun.release()
                begun = True
                text += chunk.choices[0].delta.content or ""
        return text

    async def grpc(self, server: Server) -> str:
        text = ""
        async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:
            asked = ask(WORDS, script={"interval_ms": 60})
            async for chunk in ChatServiceStub(channel).StreamChatCompletion(asked):
                if not text:
                    self._begun.release()
                text += chunk.choices[0].delta.content
        return text


class Load:
    """Callers that ask without a pause, over both faces."""

    def __init__(self, server: Server) -> None:
        self.whole = 0
        self.failures: list[BaseException] = []
        self._enough = False
        self._news = asyncio.Event()
        asking: list[Callable[[], Awaitable[object]]] = [
            lambda: over_http(server, stream=True, scripted=SLOWLY),
            lambda: over_http(server, scripted=SLOWLY),
            lambda: over_grpc(server, **SLOWLY),
        ]
        callers = asking * (CALLERS // len(asking))
        self._callers = [asyncio.ensure_future(self._ask(each)) for each in callers]

    async def goes_on(self) -> None:
        """Returns when there are so many more answers that some must have begun since."""
        wanted = self.whole + 4 * len(self._callers)
        while self.whole < wanted:
            self._news.clear()
            await self._news.wait()

    async def stop(self) -> None:
        self._enough = True
        await asyncio.gather(*self._callers)

    async def _ask(self, once: Callable[[], Awaitable[object]]) -> None:
        while not self._enough:
            try:
                await once()
                self.whole += 1
            except (aiohttp.ClientError, grpc.aio.AioRpcError) as error:
                self.failures.append(error)
            self._news.set()


@asynccontextmanager
async def loaded(server: Server) -> AsyncIterator[Load]:
    load = Load(server)
    try:
        await load.goes_on()
        yield load
    finally:
        await load.stop()
