"""The soak's clients: over either face, streamed or not, as chance will have it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.message_pb2 import ROLE_USER

_OTHERS = 0.1
"""The share of calls that come over a connection of their own."""


@dataclass
class Heard:
    """What came of a call."""

    text: str = ""
    ended: bool = False
    error: str | None = None
    """Its code, in small letters."""
    tokens: tuple[int, int] | None = None
    """Those of the prompt, and of the answer."""
    id: str = ""
    message: Mapping[str, Any] = field(default_factory=dict)


Enough = Callable[[Heard], bool]


@dataclass(frozen=True)
class _Asked:
    """As `Clients.ask` takes it."""

    model: str
    question: str
    stream: bool
    enough: Enough | None
    pause: float
    timeout: float | None
    vendor: Mapping[str, Any]

    async def goes_on(self, heard: Heard) -> bool:
        """Whether the rest of the stream is wanted; a slow reader takes its time to say so."""
        if self.enough is not None and self.enough(heard):
            return False
        if self.pause:
            await asyncio.sleep(self.pause)
        return True


class Clients:
    """Callers over both faces, that share connections most of the time."""

    def __init__(self, http: str, grpc_address: str, key: str) -> None:
        self.url = f"http://{http}/v1"
        self.address = http
        self.headers = {"Authorization": f"Bearer {key}"}
        self._grpc_address = grpc_address
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._session: aiohttp.ClientSession
        self._channel: grpc.aio.Channel

    async def __aenter__(self) -> Clients:
        self._session = self._new_session()
        self._channel = grpc.aio.insecure_channel(self._grpc_address)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()
        await self._channel.close()

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=self.headers, connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        if random.random() > _OTHERS:
            yield self._session
        else:
            async with self._new_session() as session:
                yield session

    @asynccontextmanager
    async def _stub(self) -> AsyncIterator[Any]:
        if random.random() > _OTHERS:
            yield ChatServiceStub(self._channel)
        else:
            async with grpc.aio.insecure_channel(self._grpc_address) as channel:
                yield ChatServiceStub(channel)

    async def ask(
        self,
        model: str,
        question: str,
        *,
        face: str | None = None,
        stream: bool | None = None,
        enough: Enough | None = None,
        pause: float = 0,
        timeout: float | None = None,
        **vendor: Any,
    ) -> Heard:
        """Over either face, streamed or not, as chance will have it. Who has had `enough` of a
        stream leaves it. `pause` is how long a slow reader takes its time after each piece."""
        stream = random.random() < 0.6 if stream is None else stream
        face = face or random.choice(("http", "grpc"))
        over = self._over_http if face == "http" else self._over_grpc
        heard = Heard()
        await over(_Asked(model, question, stream, enough, pause, timeout, vendor), heard)
        return heard

    async def _over_http(self, asked: _Asked, heard: Heard) -> None:
        messages = [{"role": "user", "content": asked.question}]
        body = {"model": asked.model, "messages": messages, **asked.vendor}
        if asked.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        headers = {} if asked.timeout is None else {"X-Request-Timeout": str(asked.timeout)}
        async with (
            self.session() as session,
            session.post(f"{self.url}/chat/completions", json=body, headers=headers) as response,
        ):
            if response.status != 200:
                heard.error = _code((await response.json())["error"])
                return
            if not asked.stream:
                found = await response.json()
                heard.message = found["choices"][0]["message"]
                heard.text = heard.message["content"] or ""
                _hear_end(heard, found)
                return
            async for line in response.content:
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        heard.error = _code(event["error"])
                        continue
                    for choice in event["choices"]:
                        heard.text += choice["delta"].get("content") or ""
                    if event.get("usage"):
                        _hear_end(heard, event)
                        heard.ended = False
                elif line.startswith(b"data: [DONE]"):
                    heard.ended = True
                if not await asked.goes_on(heard):
                    response.close()
                    return

    async def _over_grpc(self, asked: _Asked, heard: Heard) -> None:
        request = CreateChatCompletionRequest(model=asked.model)
        request.messages.add(role=ROLE_USER, content=asked.question)
        vendor = dict(asked.vendor)
        for name in [name for name in vendor if name in request.DESCRIPTOR.fields_by_name]:
            setattr(request, name, vendor.pop(name))
        if vendor:
            request.extra_json = json.dumps(vendor)
        told: dict[str, Any] = {"metadata": self._metadata, "timeout": asked.timeout}
        async with self._stub() as stub:
            try:
                if not asked.stream:
                    found = await stub.CreateChatCompletion(request, **told)
                    heard.text = found.choices[0].message.content
                    heard.tokens = found.usage.prompt_tokens, found.usage.completion_tokens
                    heard.id = found.id
                    heard.ended = True
                    return
                request.stream_options.include_usage = True
                call = stub.StreamChatCompletion(request, **told)
                async for chunk in call:
                    heard.id = chunk.id
                    heard.text += "".join(choice.delta.content for choice in chunk.choices)
                    if chunk.HasField("usage"):
                        heard.tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
                    if not await asked.goes_on(heard):
                        call.cancel()
                        return
                heard.ended = True
            except grpc.aio.AioRpcError as error:
                heard.error = _reason(error)


def _hear_end(heard: Heard, found: dict[str, Any]) -> None:
    heard.id = found["id"]
    heard.tokens = found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]
    heard.ended = True


def _code(error: dict[str, Any]) -> str:
    return str(error["code"])


def _reason(error: grpc.aio.AioRpcError) -> str:
    """The reason is among the details' bytes as it stands; enough to tell errors apart."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for reason in (b"UPSTREAM_UNAVAILABLE", b"UPSTREAM_INVALID", b"UPSTREAM_REFUSED"):
        if reason in details:
            return reason.decode().lower()
    return error.code().name.lower()
