"""Gives spoilt inputs to every target in turn, and keeps each that does what none may do.

PYTHONPATH=tests python -m fuzz --minutes 10
PYTHONPATH=tests python -m fuzz --target http-body --again http-body-1a2b3c4d.bin
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import tempfile
import time
import zlib
from pathlib import Path

import uvloop

from .campaign import Found, campaign
from .targets import TARGETS


async def fuzz(name: str, seed: int, seconds: float, directory: Path) -> bool:
    """Whether nothing was found."""
    current = directory / f"{name}-current.bin"
    async with TARGETS[name]() as target:
        ends = time.monotonic() + seconds
        number, found = await campaign(
            target, seed, goes_on=lambda _: time.monotonic() < ends, before=current.write_bytes
        )
    # If the process should end with a crash, it is what did it.
    current.unlink(missing_ok=True)
    if found is None:
        print(f"{name}: nothing found in {number} inputs", flush=True)
        return True
    print(f"{name}: input {number}: {found.fault}\n  {kept(name, found, directory)}", flush=True)
    return False


def kept(name: str, found: Found, directory: Path) -> str:
    """The command that shows it again."""
    file = directory / f"{name}-{zlib.crc32(found.data):08x}.bin"
    file.write_bytes(found.data)
    return f"PYTHONPATH=tests python -m fuzz --target {name} --again {file}"


async def again(name: str, file: Path) -> None:
    async with TARGETS[name]() as target:
        await target.take(file.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=8, help="for all together (default: 8)")
    parser.add_argument("--seed", type=int, help="to do what was done before")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: each")
    kept_in = Path(tempfile.gettempdir()) / "diglot-fuzz"
    parser.add_argument(
        "--directory", type=Path, default=kept_in, help=f"for what is found (default: {kept_in})"
    )
    parser.add_argument("--again", type=Path, metavar="FILE", help="what was found before")
    arguments = parser.parse_args()
    faulthandler.enable()
    names: list[str] = arguments.target or list(TARGETS)
    if arguments.again is not None:
        uvloop.run(again(names[0], arguments.again))
        return 0
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    seconds = 60 * arguments.minutes / len(names)
    good = [uvloop.run(fuzz(name, seed, seconds, arguments.directory)) for name in names]
    return 0 if all(good) else 1


sys.exit(main())
