"""Whatever is sent, it is never the server's fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from .fake import HELLO, KEY, Facade, over, post
from .memory_channel import MemoryChannel

GOOD = json.dumps({**HELLO, "temperature": 0.5, "tools": [], "seed": 1}).encode()


class Client:
    """Asks from outside of the loop, as hypothesis knows no coroutines."""

    def __init__(self, runner: asyncio.Runner, running: Facade) -> None:
        self._runner = runner
        self._running = running

    def status(self, body: bytes, content_type: str = "application/json") -> int:
        headers = {"Content-Type": content_type}
        return self._runner.run(self._running.ask(body, headers=headers))[0]

    def raw(self, request: bytes) -> bytes:
        return self._runner.run(self._raw(request))

    async def _raw(self, request: bytes) -> bytes:
        reader, writer = await self._running.raw(request)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        running = runner.run(stack.enter_async_context(over(MemoryChannel())))
        yield Client(runner, running)
        runner.run(stack.aclose())


@given(body=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes(client: Client, body: bytes) -> None:
    assert client.status(body) == 400


@given(place=st.integers(0, len(GOOD)), removed=st.integers(0, 5), added=st.binary(max_size=3))
@settings(max_examples=300, deadline=None)
def test_almost_good_bytes(client: Client, place: int, removed: int, added: bytes) -> None:
    assert client.status(GOOD[:place] + added + GOOD[place + removed :]) in (200, 400)


@given(kind=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20))
@settings(deadline=None)
def test_any_content_type(client: Client, kind: str) -> None:
    assert client.status(b"{}", kind) in (400, 415)


@given(
    path=st.binary(max_size=30).filter(lambda path: not set(path) & set(b" \r\n")),
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "DELETE", "CONNECT", "FOO"]),
    value=st.binary(max_size=30).filter(lambda value: not set(value) & set(b"\r\n")),
    name=st.sampled_from(["Authorization", "X-Request-ID", "Content-Type", "Expect", "Range"]),
    models=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_request(
    client: Client, path: bytes, method: str, value: bytes, name: str, models: bool
) -> None:
    head = method.encode() + (b" /v1/models/" if models else b" /") + path
    request = head + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    request += name.encode() + b": " + value + b"\r\n"
    if name != "Authorization":
        request += f"Authorization: Bearer {KEY}\r\n".encode()
    answer = client.raw(request + b"\r\n")
    assert answer.split(b" ")[1] in (b"200", b"400", b"401", b"404", b"405", b"415"), answer


def test_what_is_good(client: Client) -> None:
    assert client.status(GOOD) == 200
    stream: dict[str, Any] = {**HELLO, "stream": True}
    body = json.dumps(stream).encode()
    assert client.raw(post(body, "Connection: close")).startswith(b"HTTP/1.1 200 ")
