"""The servers under test: the `diglot` command, in processes of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = ("-m", "diglot.service.command")
COMMAND = (sys.executable, *_PROGRAM)
MODEL = "smollm2-135m-instruct"
_MODEL_STATE = Path(os.environ.get("DIGLOT_TEST_STATE", "~/.cache/diglot-test")).expanduser()


@dataclass(frozen=True)
class State:
    """A state directory with one key."""

    directory: Path
    key: str
    root: Path | None = None
    """Where its servers' `diglot` is imported from; None: where ours is."""
    under: tuple[str, ...] = ()
    """The command that runs its servers, if another one does."""
    python: str = sys.executable
    """Its servers' interpreter, in an environment that has what they depend on."""


@dataclass(frozen=True)
class Server:
    """A server that is ready. Addresses are HOST:PORT, empty for a face that it has not."""

    process: int
    http: str
    grpc: str
    log: Path


@asynccontextmanager
async def state(
    *,
    with_models: bool = False,
    root: Path | None = None,
    under: tuple[str, ...] = (),
    python: str = sys.executable,
) -> AsyncIterator[State]:
    """With models, it has those that the tests have fetched."""
    with tempfile.TemporaryDirectory(prefix="diglot-bench-") as name:
        directory = Path(name)
        if with_models:
            await _output(root, "model", "pull", "--state", str(_MODEL_STATE), MODEL)
            (directory / "models").symlink_to(_MODEL_STATE / "models")
        key = await _output(root, "key", "add", "bench", "--state", name)
        yield State(directory, key.strip(), root, under, python)


async def _output(root: Path | None, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, env=environment(root)
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"diglot {' '.join(arguments)} exited with {process.returncode}")
    return out.decode()


@asynccontextmanager
async def serve(state: State, *arguments: str) -> AsyncIterator[Server]:
    """Both faces in one process. Yields when it is ready."""
    words = ("serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", *_of(state))
    async with _running(state, (*words, *arguments), last_line="ready in") as server:
        yield server


@asynccontextmanager
async def service(state: State, *arguments: str) -> AsyncIterator[Server]:
    """The gRPC face alone."""
    words = ("service", "--grpc", "127.0.0.1:0", *_of(state))
    async with _running(state, (*words, *arguments), last_line="models") as server:
        yield server


@asynccontextmanager
async def facade(state: State, service: Server) -> AsyncIterator[Server]:
    """The HTTP face alone."""
    words = ("facade", "--http", "127.0.0.1:0", "--service", service.grpc)
    async with _running(state, words, last_line="from") as server:
        yield server


def _of(state: State) -> tuple[str, str]:
    return "--state", str(state.directory)


def environment(root: Path | None = None) -> dict[str, str]:
    """Ours, without what would decide for the command. `root`: as in State."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("DIGLOT_")}
    return ours if root is None else ours | {"PYTHONPATH": str(root)}


@asynccontextmanager
async def _running(
    state: State, arguments: Sequence[str], *, last_line: str
) -> AsyncIterator[Server]:
    # The log goes to a file: a pipe would have to be emptied while the clients are at work.
    log = state.directory / f"{arguments[0]}.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *state.under,
            state.python,
            *_PROGRAM,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=environment(state.root),
        )
    try:
        assert process.stdout is not None
        said: dict[str, str] = {}
        while last_line not in said:
            line = (await process.stdout.readline()).decode()
            if not line:
                raise RuntimeError(f"{' '.join(arguments)} ended:\n{log.read_text()[-2000:]}")
            if line.startswith("ready in"):
                said["ready in"] = ""
            else:
                name, _, value = line.strip().partition(" ")
                said[name] = value.strip()
        http = said.get("HTTP", "").removeprefix("http://").removesuffix("/v1")
        yield Server(process.pid, http, said.get("gRPC", ""), log)
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(15):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
