"""An upstream that works on a few answers at a time, each for as long: what it can do is known.

What is more waits, first come first served and without an end, as in the engines themselves. Who
hangs up is worked for no longer, and leaves the queue.

    python -m tests.bench.slotted_upstream    prints its port, and runs until it is ended
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import uvloop

SLOTS = 4
SECONDS = 0.2
"""For an answer."""
CAPACITY = SLOTS / SECONDS
"""Answers a second."""


@asynccontextmanager
async def slotted_upstream() -> AsyncIterator[str]:
    """In a process of its own. Gives its base URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"object": "chat.completion.chunk", "model": "slotted", "choices": choices}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


_BODY = b"".join(
    (_event({"role": "assistant", "content": "Paris."}), _event({}, "stop"), b"data: [DONE]\n\n")
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)


class _Connection(asyncio.Protocol):
    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._received = b""
        self._work: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        if blank and len(body) >= int(length):
            self._received = b""
            self._work = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        async with self._slots:
            await asyncio.sleep(SECONDS)
        self._transport.write(_ANSWER)


async def _serve() -> None:
    slots = asyncio.Semaphore(SLOTS)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(slots), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
