"""A server in a process of its own, as a user starts it, and what it says of itself."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from terminal import COMMAND, environment

READY = "ready in"


@dataclass
class Server:
    """A running `diglot serve`, `service` or `facade`."""

    process: asyncio.subprocess.Process
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    async def said(self, words: str) -> str:
        """The next line of standard output that has these words."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.out.append(line.rstrip("\n"))
            if words in line:
                return self.out[-1]
        raise AssertionError(f"it ended without {words!r}: {self.out} {self.err}")

    async def logged(self, words: str) -> str:
        """The next line of the log that has these words."""
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.err.append(line.rstrip("\n"))
            if words in line:
                return self.err[-1]
        raise AssertionError(f"it ended without logging {words!r}: {self.err}")

    @property
    def http(self) -> str:
        """The base URL that it said."""
        return self._told(r"HTTP +(\S+)")

    @property
    def grpc(self) -> str:
        return self._told(r"gRPC +(\S+)")

    @property
    def admin(self) -> str:
        """The base URL."""
        return self._told(r"admin +(\S+)/metrics")

    @property
    def key(self) -> str:
        return self._told(r"API key (\S+)")

    def _told(self, pattern: str) -> str:
        found = re.search(pattern, "\n".join(self.out))
        assert found is not None, self.out
        return found.group(1)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status; what it said until the end is kept."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """As `stop`, of one that was told already."""
        out, err = await self.process.communicate()
        self.out += out.decode().splitlines()
        self.err += err.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def started(*arguments: str, **environ: str) -> AsyncIterator[Server]:
    """Started, and killed at the latest when the test is over."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(environ),
        # Read whether or not a test looks: a log that nobody reads would stop the server.
        limit=64 * 2**20,
    )
    server = Server(process)
    try:
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await server.stop()


@asynccontextmanager
async def serving(*arguments: str, **environ: str) -> AsyncIterator[Server]:
    """`diglot serve`, ready, on ports of its own."""
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    async with started("serve", *ports, *arguments, **environ) as server:
        await server.said(READY)
        yield server


def own_address() -> str:
    """HOST:PORT for a server that ends and comes again: of those ports that the kernel gives to
    nobody meanwhile, as it may do with one that it chose itself."""
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return f"127.0.0.1:{port}"


async def pasted(line: str) -> list[str]:
    """The words of a command line, as a shell reads it: substitutions are run."""
    shell = shutil.which("sh")
    assert shell is not None
    process = await asyncio.create_subprocess_exec(
        shell,
        "-c",
        f"printf '%s\\n' {line}",
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    out, _ = await process.communicate()
    return out.decode().splitlines()
