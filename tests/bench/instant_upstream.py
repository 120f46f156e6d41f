"""An upstream that costs next to nothing, so that it is the gateway before it that is measured.

What it answers was prepared when it started. The first part of the path says how:

    /unary/v1/chat/completions   a short answer, there at once; streamed, its text in one event
    /burst/…                     102 events at once, as a file would come
    /paced/…                     the same events, one every 20 ms
    /idle/…                      the first event, and then nothing as long as the caller stays
    /v1/chat/completions         the short answer; streamed, as /burst

    python -m tests.bench.instant_upstream    prints its port, and runs until it is ended
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import uvloop

SHAPES = ("unary", "burst", "paced", "idle")
EVENTS = 102
INTERVAL = 0.02
"""Seconds between two events of a paced answer."""
_WORDS = 14

_IDENTITY = {"id": "chatcmpl-0123456789abcdef", "created": 1_780_000_000, "model": "instant"}
_USAGE = {"prompt_tokens": 24, "completion_tokens": _WORDS, "total_tokens": 24 + _WORDS}


@dataclass(frozen=True)
class InstantUpstream:
    """One that runs. `address` is HOST:PORT."""

    process: int
    address: str

    def base_url(self, shape: str) -> str:
        return f"http://{self.address}/{shape}/v1"


@asynccontextmanager
async def instant_upstream() -> AsyncIterator[InstantUpstream]:
    """In a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield InstantUpstream(process.pid, f"127.0.0.1:{port}")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _completion() -> bytes:
    message = {"role": "assistant", "content": "".join(_words(_WORDS)), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return json.dumps(
        {**_IDENTITY, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    ).encode()


def _events(texts: Sequence[str]) -> list[bytes]:
    """One for each text, and for the role, and for the end with the usage."""
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text} for text in texts]
    choices = [
        {"index": 0, "delta": each, "logprobs": None, "finish_reason": None} for each in deltas
    ]
    chunks: list[dict[str, Any]] = [{"choices": [choice]} for choice in choices]
    chunks.append({"choices": [choices[0] | {"delta": {}, "finish_reason": "stop"}]})
    chunks[-1]["usage"] = _USAGE
    identity = _IDENTITY | {"object": "chat.completion.chunk"}
    return [b"data: " + json.dumps(identity | chunk).encode() + b"\n\n" for chunk in chunks]


def _words(count: int) -> list[str]:
    return [f" word{number}" for number in range(count)]


_DONE = b"data: [DONE]\n\n"


def _whole(kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _framed(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


_STREAM = "text/event-stream"
_JSON = _whole("application/json", _completion())
_BURST = _whole(_STREAM, b"".join((*_events(_words(EVENTS - 2)), _DONE)))
_SHORT = _whole(_STREAM, b"".join((*_events(["".join(_words(_WORDS))]), _DONE)))
_FRAMES = [_framed(event) for event in _events(_words(EVENTS - 2))]
# The role comes with the first word, as it does from models.
_PIECES = [b"".join(_FRAMES[:2]), *_FRAMES[2:]]
_PIECES[0] = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + _PIECES[0]
)
_PIECES[-1] += _framed(_DONE) + b"0\r\n\r\n"
# vllm-router asks for both before it sends anything.
_ABOUT = _whole("application/json", b'{"object":"list","data":[{"id":"instant","object":"model"}]}')

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_WANTS_STREAM = re.compile(rb'"stream": ?true')


class _Connection(asyncio.Protocol):
    """Requests one after the other; knows just enough HTTP/1.1 for the gateways under test."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        while (head := received.find(b"\r\n\r\n") + 4) > 3:
            length = _LENGTH.search(received, 0, head)
            if length is not None:
                end = head + int(length[1])
            elif _CHUNKED.search(received, 0, head):
                last = received.find(b"0\r\n\r\n", head)
                end = last + 5 if last >= 0 else len(received) + 1
            else:
                end = head
            if len(received) < end:
                break
            self._answer(received[: received.find(b"\r\n")], received[head:end])
            received = received[end:]
        self._received = received

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _answer(self, line: bytes, body: bytes) -> None:
        if line.startswith(b"GET"):
            self._transport.write(_ABOUT)
            return
        shape = line.split(b"/", 2)[1]
        if not _WANTS_STREAM.search(body):
            self._transport.write(_JSON)
        elif shape == b"unary":
            self._transport.write(_SHORT)
        elif shape == b"paced":
            self._say(0, self._loop.time())
        elif shape == b"idle":
            self._transport.write(_PIECES[0])
        else:
            self._transport.write(_BURST)

    def _say(self, number: int, due: float) -> None:
        self._transport.write(_PIECES[number])
        if number + 1 < len(_PIECES):
            due += INTERVAL
            self._timer = self._loop.call_at(due, self._say, number + 1, due)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
