"""Several servers behind one gRPC client, which spreads its calls and outlives their deaths."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from engines import each
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from held_upstream import ANSWER, QUICK, SILENT, TALKING, HeldUpstream, held_upstream
from serving import ask
from serving_process import Server, own_address, started

from diglot.facade.remote_channel import RemoteChannel
from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE
from diglot.v1.chat_pb2_grpc import ChatServiceStub

NAMES = ("first", "second", "third")
SERVICE_CONFIG = Path(__file__).parent.parent / "deploy" / "service-config.json"

# Of each kind, for each server.
CALLS = 10
# More than gRPC by default keeps to be able to repeat it.
LONG = SILENT + " x" * 150_000


@dataclass
class Fleet:
    """Servers with one state directory, which they share, and a port each."""

    directory: Path
    upstream: HeldUpstream
    key: str
    running: AsyncExitStack
    servers: dict[str, Server] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        """For the first time, or again in the same place."""
        config = self.directory / f"{name}.toml"
        config.write_text(
            f"""
            log.level = "warning"
            store.enabled = false
            [[models]]
            kind = "upstream"
            name = "scripted"
            base_url = "{self.upstream.base_url(name)}"
            """
        )
        address = self.addresses.get(name) or own_address()
        arguments = ("--grpc", address, "--config", str(config), "--state", str(self.directory))
        server = await self.running.enter_async_context(started("service", *arguments))
        await server.said("models")
        self.servers[name], self.addresses[name] = server, server.grpc

    @property
    def target(self) -> str:
        return "ipv4:" + ",".join(self.addresses.values())


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    key = KeyRing(directory / KEYS_FILE).add("test")
    async with held_upstream() as upstream, AsyncExitStack() as running:
        servers = Fleet(directory, upstream, key, running)
        await asyncio.gather(*(servers.start(name) for name in NAMES))
        yield servers


class Client:
    """Asks; what is not a whole answer it raises."""

    def __init__(self, chat: RemoteChannel | ChatServiceStub, key: str) -> None:
        self._chat = chat
        self._metadata = (("authorization", f"Bearer {key}"),)

    async def create(self, question: str) -> None:
        call = self._chat.CreateChatCompletion(ask(question), timeout=60, metadata=self._metadata)
        answer = await call  # type: ignore[misc]  # the stub's type is that of a sync one, too
        assert answer.choices[0].message.content == ANSWER

    async def stream(self, question: str, heard: Callable[[], None] = lambda: None) -> None:
        """Calls `heard` with each chunk."""
        content = ""
        finished = False
        call = self._chat.StreamChatCompletion(ask(question), timeout=60, metadata=self._metadata)
        async for said in call:  # type: ignore[union-attr]  # as above
            for chunk in each(said):
                heard()
                content += chunk.choices[0].delta.content
                finished |= chunk.choices[0].HasField("finish_reason")
        assert (content, finished) == (ANSWER, True), "a clean end, but of half an answer"


@asynccontextmanager
async def facades(servers: Fleet) -> AsyncIterator[Client]:
    """What `diglot facade` asks with."""
    channel = RemoteChannel(servers.target)
    try:
        yield Client(channel, servers.key)
    finally:
        await channel.close()


@asynccontextmanager
async def documented(servers: Fleet) -> AsyncIterator[Client]:
    """What deploy/README.md tells everybody else to ask with."""
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", SERVICE_CONFIG.read_text()),
        ("grpc.per_rpc_retry_buffer_size", 33 * 2**20),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    async with grpc.aio.insecure_channel(servers.target, options=options) as channel:
        yield Client(ChatServiceStub(channel), servers.key)


Connecting = Callable[[Fleet], AbstractAsyncContextManager[Client]]


async def all_are_asked(client: Client, upstream: HeldUpstream) -> None:
    """Asks until each server had its share: connections come up in their own time."""
    upstream.hold()
    while set(upstream.askers(QUICK)) != set(NAMES):
        await client.create(QUICK)


class Talks:
    """Streams that have begun, one for each server and each round, and are held there."""

    def __init__(self, client: Client, rounds: int) -> None:
        self._heard = asyncio.Semaphore(0)
        self.streams = [
            asyncio.ensure_future(client.stream(TALKING, self._heard.release))
            for _ in range(rounds * len(NAMES))
        ]

    async def begun(self) -> None:
        for _ in self.streams:
            await self._heard.acquire()


@pytest.mark.parametrize("connecting", [facades, documented])
async def test_a_killed_server_loses_only_the_answers_that_had_begun(
    tmp_path: Path, connecting: Connecting
) -> None:
    async with fleet(tmp_path) as servers, connecting(servers) as client:
        upstream = servers.upstream
        await all_are_asked(client, upstream)
        talks = Talks(client, CALLS)
        await talks.begun()
        calls = [
            asyncio.ensure_future(once(question))
            for once in (client.create, client.stream)
            for question in [SILENT] * (CALLS - 1) * len(NAMES) + [LONG] * len(NAMES)
        ]
        await upstream.asked(SILENT, len(calls))
        assert upstream.askers(SILENT) == dict.fromkeys(NAMES, 2 * CALLS), "evenly spread"
        assert upstream.askers(TALKING) == dict.fromkeys(NAMES, CALLS)

        await servers.servers["second"].stop(signal.SIGKILL)
        upstream.release()
        await asyncio.gather(*calls)
        assert len(upstream.arrived) > len(calls) + len(talks.streams), "asked for again elsewhere"
        lost = [
            each for each in await asyncio.gather(*talks.streams, return_exceptions=True) if each
        ]
        assert len(lost) == CALLS
        for error in lost:
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() == grpc.StatusCode.UNAVAILABLE

        await servers.start("second")
        await all_are_asked(client, upstream)


async def test_servers_restarted_one_after_the_other_lose_no_call(tmp_path: Path) -> None:
    async with fleet(tmp_path) as servers, facades(servers) as client:
        await all_are_asked(client, servers.upstream)
        enough = asyncio.Event()

        async def keep_asking(once: Callable[[str], Awaitable[None]]) -> None:
            while not enough.is_set():
                await once(QUICK)

        callers = [
            asyncio.ensure_future(keep_asking(once)) for once in (client.create, client.stream)
        ]
        for name in NAMES:
            talks = Talks(client, 1)
            await talks.begun()
            server = servers.servers[name]
            async with watched(servers.addresses[name]) as refuses:
                server.process.send_signal(signal.SIGTERM)
                await refuses()
            servers.upstream.release()
            await asyncio.gather(*talks.streams)
            assert await server.ended() == 0
            await servers.start(name)
            await all_are_asked(client, servers.upstream)
        enough.set()
        await asyncio.gather(*callers)


@asynccontextmanager
async def watched(address: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Gives a function that returns once the server says that it takes no more calls."""
    async with grpc.aio.insecure_channel(address) as channel:
        health = aiter(HealthStub(channel).Watch(HealthCheckRequest()))
        assert (await anext(health)).status == HealthCheckResponse.SERVING

        async def refuses() -> None:
            assert (await anext(health)).status == HealthCheckResponse.NOT_SERVING

        yield refuses
