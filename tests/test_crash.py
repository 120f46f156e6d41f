"""Servers that are killed while they answer: no completion that somebody saw is lost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import grpc
from serving import ask
from serving_process import Server, serving, started

from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE
from diglot.v1 import chat_pb2_grpc

ROUNDS = 2
CALLERS = 3  # of each kind

# A few milliseconds each, so that a kill finds calls at every stage.
SCRIPT = {"content": "one two three", "interval_ms": 2}


class Callers:
    """Ask without a pause, over both faces, and note what they have seen the end of."""

    def __init__(self, key: str) -> None:
        self.seen: set[str] = set()
        self.broken = 0
        self._headers = {"Authorization": f"Bearer {key}"}
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._enough = asyncio.Event()
        self._wanted = 0

    async def until_killed(self, server: Server) -> None:
        """Has the server killed at a moment that nobody can foresee."""
        self._enough.clear()
        self._wanted = len(self.seen) + random.randrange(1, 80)
        asking: list[Callable[[], Awaitable[None]]] = []
        async with (
            aiohttp.ClientSession(server.http + "/", headers=self._headers) as http,
            grpc.aio.insecure_channel(server.grpc) as channel,
        ):
            chat = chat_pb2_grpc.ChatServiceStub(channel)
            asking = [
                lambda: self._http(http),
                lambda: self._http_stream(http),
                lambda: self._grpc(chat),
                lambda: self._grpc_stream(chat),
            ]
            callers = [asyncio.ensure_future(self._ask(one)) for one in asking * CALLERS]
            await self._enough.wait()
            await server.stop(signal.SIGKILL)
            await asyncio.gather(*callers)

    async def find_all(self, server: Server) -> None:
        async with aiohttp.ClientSession(server.http + "/", headers=self._headers) as http:
            for name in self.seen:
                async with http.get(f"chat/completions/{name}") as answer:
                    assert answer.status == 200, name
                    (choice,) = (await answer.json())["choices"]
                    assert choice["message"]["content"] == "one two three"
                    assert choice["finish_reason"] == "stop"

    async def _ask(self, once: Callable[[], Awaitable[None]]) -> None:
        try:
            while True:
                await once()
        except (aiohttp.ClientError, grpc.aio.AioRpcError):
            self.broken += 1

    def _ended(self, name: str) -> None:
        self.seen.add(name)
        if len(self.seen) >= self._wanted:
            self._enough.set()

    async def _http(self, http: aiohttp.ClientSession) -> None:
        async with http.post("chat/completions", json=_body()) as answer:
            assert answer.status == 200
            self._ended((await answer.json())["id"])

    async def _http_stream(self, http: aiohttp.ClientSession) -> None:
        async with http.post("chat/completions", json=_body(stream=True)) as answer:
            assert answer.status == 200
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    chunk = json.loads(line.removeprefix(b"data: "))
                    # Before [DONE]: many clients do not wait for that.
                    if chunk["choices"][0]["finish_reason"]:
                        self._ended(chunk["id"])

    async def _grpc(self, chat: chat_pb2_grpc.ChatServiceAsyncStub) -> None:
        request = ask(store=True, script=SCRIPT)
        self._ended((await chat.CreateChatCompletion(request, metadata=self._metadata)).id)

    async def _grpc_stream(self, chat: chat_pb2_grpc.ChatServiceAsyncStub) -> None:
        request = ask(store=True, script=SCRIPT)
        async for chunk in chat.StreamChatCompletion(request, metadata=self._metadata):
            if chunk.choices[0].HasField("finish_reason"):
                self._ended(chunk.id)


def _body(**fields: object) -> dict[str, object]:
    messages = [{"role": "user", "content": "hello"}]
    return {"model": "scripted", "messages": messages, "store": True, "scripted": SCRIPT, **fields}


def config(directory: Path, url: str) -> str:
    file = directory / "diglot.toml"
    file.write_text(
        f'state = "{directory}"\n[store]\nurl = "{url}"\n[[models]]\nkind = "scripted"\n'
    )
    return str(file)


async def test_what_was_answered_survives_kills(tmp_path: Path, database_url: str) -> None:
    file = config(tmp_path, database_url)
    callers = Callers(KeyRing(tmp_path / KEYS_FILE).add("test"))
    for _ in range(ROUNDS):
        async with serving("--config", file) as server:
            await callers.until_killed(server)
    async with serving("--config", file) as server:
        await callers.find_all(server)
        assert await server.stop() == 0
    assert len(callers.seen) >= ROUNDS
    assert callers.broken == ROUNDS * CALLERS * 4, "every caller was in the middle of something"


async def test_a_kill_during_the_first_start_leaves_a_database_that_opens(
    tmp_path: Path, database_url: str
) -> None:
    """However far the migrations had come."""
    file = config(tmp_path, database_url)
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    async with started("serve", *ports, "--config", file) as server:
        await server.said("models")
        with suppress(TimeoutError):
            async with asyncio.timeout(random.random() * 0.7):
                await server.said("ready")
        await server.stop(signal.SIGKILL)
    async with serving("--config", file) as server:
        assert await server.stop() == 0


async def test_a_database_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    """With the place in the configuration, and without the password."""
    file = config(tmp_path, "x")
    Path(file).write_text('[store]\nurl_env = "STORE"\n[[models]]\nkind = "scripted"\n')
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--state", str(tmp_path))
    url = "postgresql://me:s3cret@127.0.0.1:1/talks"
    async with started("serve", *ports, "--config", file, STORE=url) as server:
        assert await server.ended() == 1
    said = "\n".join([*server.out, *server.err])
    assert "store.url: cannot open the database (PostgreSQL, talks at 127.0.0.1:1)" in said
    assert "s3cret" not in said
    assert "ready" not in said
    assert "Traceback" not in said
