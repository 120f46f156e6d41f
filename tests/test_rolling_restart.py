"""Two servers that are restarted one after the other, under load: nobody notices."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc
import pytest
from serving import ask
from serving_process import READY, Server, own_address, started

from diglot.v1.chat_pb2_grpc import ChatServiceStub

SERVICE_CONFIG = Path(__file__).parent.parent / "deploy" / "service-config.json"
MOST = 1_000_000
WORDS = "one two three four five"
# Longer than a client needs between two requests, so that streams are under way all the time.
SCRIPT = {"scripted": {"interval_ms": 20}}


@dataclass
class Pair:
    """Two servers, each in its own place."""

    directory: Path
    running: AsyncExitStack
    servers: dict[int, Server] = field(default_factory=dict)
    http: dict[int, str] = field(default_factory=dict)
    grpc: dict[int, str] = field(default_factory=dict)

    async def start(self, number: int) -> None:
        """For the first time, or again in the same place."""
        file = self.directory / f"{number}.toml"
        # By the limit that it names when it refuses, a server is told from the other.
        file.write_text(
            f"""
            state = "{self.directory}"
            store.enabled = false
            auth.enabled = false
            log.level = "warning"
            # Longer than the test may take: nothing is to wait for its end.
            grace_seconds = 600
            [[models]]
            kind = "scripted"
            max_completion_tokens = {MOST + number}
            """
        )
        http = self.http.get(number, own_address()).removeprefix("http://")
        places = ("--http", http, "--grpc", self.grpc.get(number, own_address()))
        server = await self.running.enter_async_context(
            started("serve", *places, "--config", str(file))
        )
        await server.said(READY)
        self.servers[number] = server
        self.http[number], self.grpc[number] = server.http.removesuffix("/v1"), server.grpc


@asynccontextmanager
async def running(directory: Path, *numbers: int) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        servers = Pair(directory, stack)
        await asyncio.gather(*map(servers.start, numbers))
        yield servers


class Proxy:
    """Balances over HTTP as proxies do: in turns, on connections that it keeps, and on to the
    next server where one cannot be reached. What was sent once is not sent again."""

    def __init__(self, servers: Pair, http: aiohttp.ClientSession) -> None:
        self._servers = servers
        self._http = http
        self._turns = itertools.cycle((1, 2))

    async def ask(self, *, stream: bool) -> None:
        """Raises what a client would see of it."""
        body = {"model": "scripted", "messages": [{"role": "user", "content": WORDS}], **SCRIPT}
        first = next(self._turns)
        for number in (first, 3 - first):
            url = self._servers.http[number] + "/v1/chat/completions"
            try:
                async with self._http.post(url, json={**body, "stream": stream}) as response:
                    text = await response.text()
                    assert response.status == 200, text
                    break
            except aiohttp.ClientConnectorError:
                assert number == first, "neither can be reached"
        if stream:
            assert text.endswith("data: [DONE]\n\n"), text
        else:
            assert json.loads(text)["choices"][0]["message"]["content"] == WORDS


async def stream_over_grpc(stub: ChatServiceStub) -> None:
    chunks = stub.StreamChatCompletion(ask(WORDS, script=SCRIPT["scripted"]), timeout=60)
    said = [chunk.choices[0].delta.content async for chunk in chunks]  # type: ignore[attr-defined]
    assert "".join(said) == WORDS


async def create_over_grpc(stub: ChatServiceStub) -> None:
    answer = await stub.CreateChatCompletion(ask(WORDS), timeout=60)  # type: ignore[misc]
    assert answer.choices[0].message.content == WORDS


async def hears_of(stub: ChatServiceStub, number: int) -> None:
    """Returns once calls come to the server again: its clients have their own time for that."""
    answered_by = ""
    while not answered_by.endswith(str(MOST + number)):
        with pytest.raises(grpc.aio.AioRpcError, match="at most") as refused:
            await stub.CreateChatCompletion(ask(max_completion_tokens=2 * MOST))  # type: ignore[misc]
        answered_by = (refused.value.details() or "").partition(" completion")[0]


async def test_two_servers_restarted_in_turn_under_load_lose_no_request(tmp_path: Path) -> None:
    target_options = [
        ("grpc.service_config", SERVICE_CONFIG.read_text()),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    async with running(tmp_path, 1, 2) as servers, aiohttp.ClientSession() as http:
        target = "ipv4:" + ",".join(servers.grpc.values())
        async with grpc.aio.insecure_channel(target, options=target_options) as channel:
            proxy, stub = Proxy(servers, http), ChatServiceStub(channel)
            enough = asyncio.Event()
            answered = 0

            async def keep_asking(once: Callable[[], Awaitable[None]]) -> None:
                nonlocal answered
                while not enough.is_set():
                    await once()
                    answered += 1

            async with asyncio.TaskGroup() as group:
                for once in (
                    *(lambda: proxy.ask(stream=False),) * 4,
                    *(lambda: proxy.ask(stream=True),) * 4,
                    *(lambda: stream_over_grpc(stub),) * 2,
                    *(lambda: create_over_grpc(stub),) * 2,
                ):
                    group.create_task(keep_asking(once))
                for number in (1, 2):
                    before = answered
                    assert await servers.servers[number].stop(signal.SIGTERM) == 0
                    await servers.start(number)
                    await hears_of(stub, number)
                    assert answered > before
                enough.set()


async def test_a_server_that_stops_says_so_on_the_connections_that_it_has(tmp_path: Path) -> None:
    """It is not ready, it still answers, and it lets its client know that it closes."""
    async with running(tmp_path, 1) as servers, aiohttp.ClientSession() as http:
        url = servers.http[1]
        async with http.get(f"{url}/readyz") as ready:
            assert ready.status == 200
        body = {"model": "scripted", "messages": [{"role": "user", "content": WORDS}]}
        script = {"scripted": {"interval_ms": 100}}
        async with http.post(f"{url}/v1/chat/completions", json=body | script) as _:
            pass
        stream = asyncio.ensure_future(
            http.post(f"{url}/v1/chat/completions", json=body | script | {"stream": True})
        )
        response = await stream
        # On a connection of its own, and just used.
        async with http.get(f"{url}/readyz") as ready:
            assert ready.status == 200
        servers.servers[1].process.send_signal(signal.SIGTERM)
        while True:
            async with http.get(f"{url}/readyz") as ready:
                if ready.status == 503:
                    assert ready.headers["Connection"] == "close"
                    assert "it stops" in await ready.text()
                    break
        assert (await response.text()).endswith("data: [DONE]\n\n")
        assert await servers.servers[1].ended() == 0
