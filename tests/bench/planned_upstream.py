"""An upstream that does what each request plans for it, and keeps the books.

OpenAI's API over HTTP/1.1 with keep-alive. The vendor key `plan` of a request says how its answer
goes; what it says is a function of the question, so that nobody can take one answer for another.
The ledger has what was produced for each request, and when its connection was seen to close.

In the test's own loop: `async with planned_upstream() as upstream`. As a process of its own, which
upstream_process.py starts, it prints its port, ends with its standard input, and tells its ledger
over `POST /ledger`, `/wait` and `/forget`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import uvloop

END, RESET, CLOSE, HANG, GARBAGE, TORN, ERROR = (
    *("end", "reset", "close", "hang", "garbage", "torn", "error"),
)
FAULTS = (RESET, CLOSE, GARBAGE, TORN, ERROR)
"""How an answer can fail; HANG waits until the other side leaves."""

# With more than one a write, tokens come in bursts.
_BURST = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How an answer goes."""

    name: str = ""
    """By which the ledger knows it."""
    tokens: int = 3
    then: str = END
    """What comes after the tokens."""
    status: int = 200
    """Another one refuses, with `retry_after`."""
    retry_after: int = 1
    pause: float = 0
    """Seconds before each token; without, they come in bursts."""
    each: bool = False
    """Whether usage comes with each token, also unasked; asked for, it does as with vLLM."""

    def json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Entry:
    """What became of one request."""

    name: str
    produced: int = 0
    """Tokens that went out."""
    ended: bool = False
    """Whether the answer came to its planned end."""
    gone: float | None = None
    """When the connection was seen to close before that, by time.monotonic()."""


def word(question: str, place: int) -> str:
    """The token at this place of the answer to this question."""
    return f"{hashlib.sha256(question.encode()).hexdigest()[:8]}.{place} "


def answer(question: str, tokens: int) -> str:
    return "".join(word(question, place) for place in range(tokens))


def prompt_tokens(question: str) -> int:
    return len(question.split())


@dataclass
class PlannedUpstream:
    port: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def changed(self) -> None:
        self._news.set()

    async def until(self, name: str, true: Callable[[Entry], object]) -> Entry:
        """Returns the entry, once there is one and it is so."""
        while (entry := self.entries.get(name)) is None or not true(entry):
            self._news.clear()
            await self._news.wait()
        return entry

    def protocol(self) -> asyncio.Protocol:
        return _Connection(self)


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: PlannedUpstream) -> None:
        self._upstream = upstream
        self._data = b""
        self._entry: Entry | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._entry is not None and not self._entry.ended:
            self._entry.gone = time.monotonic()
            self._upstream.changed()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank:
            return
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        if len(body) < length:
            return
        self._data = body[length:]
        asked = json.loads(body[:length])
        path = first.split()[1]
        work = self._complete(asked) if path.startswith("/v1/") else self._tell(path, asked)
        self._task = asyncio.get_running_loop().create_task(work)

    async def _tell(self, path: str, asked: dict[str, Any]) -> None:
        upstream, found = self._upstream, {}
        if path == "/wait":
            entry = await upstream.until(
                asked["name"],
                lambda entry: (
                    entry.produced >= asked["produced"]
                    and (entry.gone or entry.ended or not asked["over"])
                ),
            )
            found = {entry.name: asdict(entry)}
        elif path == "/ledger":
            found = {name: asdict(entry) for name, entry in upstream.entries.items()}
        if path == "/forget":
            upstream.entries.clear()
        self._whole(200, found)

    def _whole(self, status: int, body: dict[str, Any], extra: str = "") -> None:
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{extra}"
        self._transport.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    async def _complete(self, asked: dict[str, Any]) -> None:
        question = asked["messages"][-1]["content"]
        plan = Plan(**asked.get("plan", {}))
        if asked["stream_options"].get("continuous_usage_stats"):
            plan = replace(plan, each=True)
        entry = self._entry = Entry(plan.name or question)
        self._upstream.entries[entry.name] = entry
        self._upstream.changed()
        if plan.status != 200:
            entry.ended = True
            error = {"message": f"planned: {plan.status}", "code": None}
            self._whole(plan.status, {"error": error}, f"Retry-After: {plan.retry_after}\r\n")
            return
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        await self._say(plan, entry, question)
        if plan.then == HANG:
            await asyncio.get_running_loop().create_future()
        entry.ended = True
        self._end(plan, entry, question)
        self._upstream.changed()

    async def _say(self, plan: Plan, entry: Entry, question: str) -> None:
        asks = prompt_tokens(question)
        pieces: list[bytes] = []
        for place in range(plan.tokens):
            if plan.pause:
                await asyncio.sleep(plan.pause)
            usage = _usage(asks, place + 1) if plan.each else None
            pieces.append(_event({"content": word(question, place)}, usage=usage))
            if plan.pause or len(pieces) == _BURST or place == plan.tokens - 1:
                await self._writable.wait()
                self._transport.write(_chunk(b"".join(pieces)))
                entry.produced += len(pieces)
                pieces.clear()
                self._upstream.changed()

    def _end(self, plan: Plan, entry: Entry, question: str) -> None:
        match plan.then:
            case "end":
                usage = _usage(prompt_tokens(question), entry.produced)
                self._transport.write(
                    _chunk(_event({}, "stop") + _event(None, usage=usage) + b"data: [DONE]\n\n")
                    + b"0\r\n\r\n"
                )
                return
            case "error":
                self._transport.write(_chunk(b'data: {"error": {"message": "out of memory"}}\n\n'))
            case "garbage":
                self._transport.write(_chunk(b"data: {{{\xff\n\n"))
            case "torn":  # in the middle of one of HTTP's chunks, and of an event
                self._transport.write(_chunk(_event({"content": "torn"}))[:-20])
            case "reset":
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._transport.abort()
                return
        self._transport.close()


def _usage(asks: int, says: int) -> dict[str, int]:
    return {"prompt_tokens": asks, "completion_tokens": says, "total_tokens": asks + says}


def _event(
    delta: dict[str, str] | None, finish: str | None = None, usage: dict[str, int] | None = None
) -> bytes:
    choices = []
    if delta is not None:
        choices.append({"index": 0, "delta": delta, "finish_reason": finish})
    body: dict[str, Any] = {"object": "chat.completion.chunk", "choices": choices}
    if usage is not None:
        body["usage"] = usage
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def planned_upstream() -> AsyncIterator[PlannedUpstream]:
    """In this loop."""
    upstream = PlannedUpstream()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(upstream.protocol, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()


async def _main() -> None:
    async with planned_upstream() as upstream:
        print(upstream.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    uvloop.run(_main())
