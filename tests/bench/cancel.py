"""How soon it ends behind Diglot when a caller leaves.

The upstream, in a process of its own, notes when its connection closes; on one machine both read
the same monotonic clock. A caller who is still queued has never reached it: there it is the log's
line for the call that counts, which has whole milliseconds. One caller leaves at a time.

With the embedded model, what counts is its slot: a prompt of some thousand tokens is being read
when its caller leaves, and another caller asks for one token at once. llama.cpp looks for who has
left between two batches, so what a batch holds decides; and how fast prompts are read, too.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

import aiohttp
import grpc
import openai

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.message_pb2 import ROLE_USER

from .command import run
from .effort import Effort
from .load import percentile
from .planned_upstream import HANG, Plan
from .prefill import prefill_tables
from .servers import Server, State, serve, state
from .table import Cell, Figure, Table
from .upstream_process import Books, upstream_process

CANCELS = 500
TOKENS = 3

HTTP, GRPC, SDK = "HTTP, connection closed", "gRPC, call cancelled", "OpenAI's SDK, closed"
QUEUED, PREFILL, BETWEEN = "queued", "in prefill", "between tokens"

_names = (f"call-{number}" for number in count())


@dataclass
class Caller:
    """Asks over one of the ways; `heard` is set with the first token, where there is one."""

    server: Server
    admin: str
    """Where its metrics are."""
    key: str
    sdk: openai.AsyncOpenAI
    stub: Any

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


@asynccontextmanager
async def served() -> AsyncIterator[tuple[State, Caller, Books]]:
    async with AsyncExitStack() as running:
        here = await running.enter_async_context(state())
        books = await running.enter_async_context(upstream_process())
        file = here.directory / "diglot.toml"
        file.write_text(
            f'[[models]]\nname = "m"\nkind = "upstream"\nbase_url = "{books.base_url}"\n'
            f'max_running = 1\n[admin]\naddress = "{(admin := _free_address())}"\n'
        )
        server = await running.enter_async_context(serve(here, "--config", str(file)))
        channel = await running.enter_async_context(grpc.aio.insecure_channel(server.grpc))
        sdk = await running.enter_async_context(
            openai.AsyncOpenAI(
                base_url=f"http://{server.http}/v1",
                api_key=here.key,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(verify=False),
            )
        )
        yield (
            here,
            Caller(server, f"http://{admin}/metrics", here.key, sdk, ChatServiceStub(channel)),
            books,
        )


async def seconds_until_closed(
    caller: Caller, books: Books, way: str, stream: bool, when: str
) -> float:
    """From leaving to the upstream's connection being closed."""
    plan = Plan(next(_names), tokens=TOKENS if when == BETWEEN else 0, then=HANG)
    heard = asyncio.Event()
    leave = await caller.ask(way, stream, plan, heard)
    await books.entry(plan.name, produced=plan.tokens)
    if when == BETWEEN and stream:
        await heard.wait()
    await asyncio.sleep(0.002)  # anywhere but at the moment of an event
    left = time.monotonic()
    await leave()
    entry = await books.entry(plan.name, over=True)
    assert entry.gone is not None
    return entry.gone - left


async def seconds_queued(
    here: State, caller: Caller, books: Books, way: str, stream: bool, cancels: int
) -> list[float]:
    """From leaving the queue to the line in the log, while another one has the only place."""
    holder, heard = Plan(next(_names), tokens=1, then=HANG), asyncio.Event()
    go = await caller.ask(HTTP, True, holder, heard)
    await heard.wait()
    left: dict[str, float] = {}
    for _ in range(cancels):
        plan = Plan(next(_names))
        leave = await caller.ask(way, stream, plan, asyncio.Event())
        await _queued(caller.admin)
        left[plan.name] = time.time()
        await leave()
    await go()
    await books.entry(holder.name, over=True)
    ended: dict[str, float] = {}
    while not ended.keys() >= left.keys():
        await asyncio.sleep(0.1)
        ended = _ended(here)
    return [ended[name] - left[name] for name in left]


async def _queued(admin: str) -> None:
    """Returns once a request waits for a place."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(admin) as found:
                lines = (await found.text()).splitlines()
            if any(
                line.startswith("diglot_requests_queued{") and line.endswith((" 1", " 1.0"))
                for line in lines
            ):
                return


def _free_address() -> str:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{some.getsockname()[1]}"


def _ended(here: State) -> dict[str, float]:
    """When each call's line was written."""
    found = {}
    for line in (here.directory / "serve.log").read_text().splitlines():
        if " request_id=" in line:
            name = line.partition(" request_id=")[2].split()[0]
            found[name] = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f").timestamp()
    return found


async def tables(effort: Effort) -> list[Table]:
    cancels = effort.count(CANCELS, 5)
    rows: list[tuple[Cell, ...]] = []
    async with served() as (here, caller, books):
        for when in (QUEUED, PREFILL, BETWEEN):
            for way in (HTTP, GRPC, SDK):
                for stream in (False, True):
                    if when == QUEUED:
                        took = await seconds_queued(here, caller, books, way, stream, cancels)
                    else:
                        took = [
                            await seconds_until_closed(caller, books, way, stream, when)
                            for _ in range(cancels)
                        ]
                    await books.forget()
                    figures = (Figure((percentile(took, percent),), 1) for percent in (50, 99, 100))
                    name = f"{when}; {way}; {'streamed' if stream else 'whole'}"
                    print(f"cancel: {name}", file=sys.stderr, flush=True)
                    rows.append((name, *figures))
    note = f"{cancels} callers leave each way. Milliseconds until it has ended behind Diglot."
    columns = ("when; how; what", "p50", "p99", "longest")
    return [Table("Cancel", note, columns, tuple(rows)), *await prefill_tables(effort)]


if __name__ == "__main__":
    run(cancel=tables)
