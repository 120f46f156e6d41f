"""The `diglot` command: in a process of its own, with pipes or in a terminal, or just called."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from unittest.mock import patch

from diglot.service.command.main import main

COMMAND = (sys.executable, "-m", "diglot.service.command")

# Makes standard output the controlling terminal, so that Ctrl-C is what it is to a person.
_IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Outcome:
    """What came of a command."""

    code: int | None
    out: str
    err: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without what would decide for the command, and with what the test wants."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("DIGLOT_")}
    return {**ours, "TERM": "dumb", "COLUMNS": "100", **(extra or {})}


async def diglot(
    *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None
) -> Outcome:
    """Runs it to its end."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(environ),
    )
    out, err = await process.communicate(stdin)
    return Outcome(process.returncode, out.decode(), err.decode())


def called(*arguments: str, environ: Mapping[str, str] | None = None) -> Outcome:
    """The same without a process, which takes most of its time to start: for what is done with
    when the command line, a file or two are read."""
    out, err = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.dict(os.environ, environment(environ), clear=True),
    ):
        try:
            code = main(arguments)
        except SystemExit as ended:  # by argparse
            code = int(ended.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


class Terminal:
    """What a person sees and types."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process) -> None:
        self._descriptor = descriptor
        self._process = process
        self._seen = ""
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._seen += data.decode()
        self._arrived.set()

    async def see(self, text: str) -> str:
        """Waits for a text, and gives what came before it since the last one."""
        while text not in self._seen:
            self._arrived.clear()
            await self._arrived.wait()
        before, _, self._seen = self._seen.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    async def ended(self) -> int:
        return await self._process.wait()

    async def ended_by_ctrl_c(self) -> int:
        """Types it until it works, as people do: CPython's readline loses a signal that comes
        after the prompt was printed and before it waits for input."""
        while True:
            self.type("\x03")
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    return await self.ended()

    @property
    def rest(self) -> str:
        """What was shown since the last text that was waited for."""
        return self._seen


@asynccontextmanager
async def terminal(
    *arguments: str, stdin: bytes | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Terminal]:
    """The command in a terminal of its own; with `stdin`, its input is a pipe all the same."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _IN_TERMINAL),
        *COMMAND,
        *arguments,
        stdin=theirs if stdin is None else asyncio.subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environment(environ),
    )
    os.close(theirs)
    if process.stdin is not None:
        process.stdin.write(stdin or b"")
        process.stdin.close()
    try:
        yield Terminal(ours, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
