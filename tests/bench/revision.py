"""One state of the code, laid out so that its server can run beside another's."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

from .servers import environment

WORKING = "."
"""The working tree, with what is not committed."""

_TOP = Path(__file__).parents[2]
_PARTS = ("proto", "service", "facade")
_WHERE = "import diglot.service as s, diglot.v1.chat_pb2 as v1; print(s.__file__, v1.__file__)"


@dataclass(frozen=True)
class Revision:
    """A copy. `root` is where its `diglot` is imported from; what it depends on is ours."""

    name: str
    root: Path


async def laid_out(revision: str, directory: Path) -> Revision:
    """`revision` is one of git's, or the working tree. Nothing of the repository is touched."""
    directory.mkdir()
    if revision == WORKING:
        name = f"working tree on {_git('describe', '--always', '--dirty')}"
        for part in _PARTS:
            shutil.copytree(_TOP / part, directory / part, symlinks=True)
    else:
        name = f"{revision} ({_git('rev-parse', '--short', revision)})"
        archive = subprocess.run(
            ("git", "archive", revision, *_PARTS), cwd=_TOP, stdout=PIPE, check=True
        )
        subprocess.run(("tar", "-x", "-C", directory), input=archive.stdout, check=True)
    root = directory / "proto"
    await _python(root, str(root / "generate.py"))
    # A namespace can be pieced together from several places.
    for file in (await _python(root, "-c", _WHERE)).split():
        if not Path(file).is_relative_to(directory):
            raise RuntimeError(f"{name} would run {file}")
    return Revision(name, root)


def _git(*arguments: str) -> str:
    told = subprocess.run(("git", *arguments), cwd=_TOP, stdout=PIPE, text=True, check=True)
    return told.stdout.strip()


async def _python(root: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=PIPE, env=environment(root)
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"python {arguments[0]} in {root} exited with {process.returncode}")
    return out.decode()
