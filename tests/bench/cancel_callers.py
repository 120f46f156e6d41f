"""Callers who leave before they are answered, over each of the ways.

A caller's question has a plan for the upstream, by whose name its books know the call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER

from .planned_upstream import Plan
from .servers import Server

HTTP, GRPC, SDK = "HTTP, connection closed", "gRPC, call cancelled", "OpenAI's SDK, closed"


@dataclass
class Caller:
    """Asks over one of the ways; `heard` is set with the first token, where there is one."""

    server: Server
    key: str
    sdk: openai.AsyncOpenAI
    stub: Any
    metrics: aiohttp.ClientSession
    """With the address of the server's metrics."""

    async def queued(self, requests: int) -> None:
        """Returns once so many wait for a place."""
        wanted = (f" {requests}", f" {requests}.0")
        while True:
            async with self.metrics.get("/metrics") as found:
                lines = (await found.text()).splitlines()
            if any(
                line.startswith("diglot_requests_queued{") and line.endswith(wanted)
                for line in lines
            ):
                return

    async def ask(
        self, way: str, stream: bool, plan: Plan, heard: asyncio.Event
    ) -> Callable[[], Awaitable[object]]:
        """Begins, and gives what ends it. Leaves before it is answered, so nothing is returned."""
        if way == HTTP:
            return await self._over_http(stream, plan, heard)
        over = self._over_sdk if way == SDK else self._over_grpc
        return await over(stream, plan, heard)

    async def _over_http(
        self, stream: bool, plan: Plan, heard: asyncio.Event
    ) -> Callable[[], Awaitable[object]]:
        body = json.dumps(_body(plan) | {"stream": stream}).encode()
        reader, writer = await asyncio.open_connection(*self.server.http.rsplit(":", 1))
        head = (
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: {self.server.http}",
            f"Authorization: Bearer {self.key}",
            f"X-Request-Id: {plan.name}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        writer.write("\r\n".join((*head, "", "")).encode() + body)

        async def listen() -> None:
            while line := await reader.readline():
                if b'"content":"' in line and b'"content":""' not in line:
                    heard.set()

        listening = asyncio.ensure_future(listen())

        async def leave() -> None:
            writer.close()
            listening.cancel()

        return leave

    async def _over_grpc(
        self, stream: bool, plan: Plan, heard: asyncio.Event
    ) -> Callable[[], Awaitable[object]]:
        request = CreateChatCompletionRequest(
            model="m", extra_json=json.dumps({"plan": plan.json()})
        )
        request.messages.add(role=ROLE_USER, content="why")
        told = {
            "metadata": (("authorization", f"Bearer {self.key}"), ("x-request-id", plan.name)),
        }
        method = self.stub.StreamChatCompletion if stream else self.stub.CreateChatCompletion
        call = method(request, **told)

        async def listen() -> None:
            if not stream:
                await call
            async for chunk in call:
                if chunk.choices[0].delta.content:
                    heard.set()

        listening = asyncio.ensure_future(listen())

        async def leave() -> None:
            call.cancel()
            await asyncio.gather(listening, return_exceptions=True)

        return leave

    async def _over_sdk(
        self, stream: bool, plan: Plan, heard: asyncio.Event
    ) -> Callable[[], Awaitable[object]]:
        chunks: list[Any] = []

        async def listen() -> None:
            body = _body(plan)
            answer: Any = await self.sdk.chat.completions.create(
                model=body["model"],
                messages=body["messages"],
                stream=stream,
                extra_body={"plan": plan.json()},
                extra_headers={"x-request-id": plan.name},
            )
            chunks.append(answer)
            async for chunk in answer:
                if chunk.choices[0].delta.content:
                    heard.set()

        listening = asyncio.ensure_future(listen())

        async def leave() -> None:
            if chunks:
                await chunks[0].close()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

        return leave


def _body(plan: Plan) -> dict[str, Any]:
    messages = [{"role": "user", "content": "why"}]
    return {"model": "m", "messages": messages, "plan": plan.json()}
