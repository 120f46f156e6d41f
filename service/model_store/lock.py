"""One process at a time fetches a file."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_SECONDS = 0.1


@asynccontextmanager
async def locked(target: Path) -> AsyncIterator[None]:
    """Alone with a file that is to be made, whose directory is made if need be.

    Whoever had to wait should look first whether the file is there now. The lock goes with the
    process that holds it, however that ends; the lock file stays, because removing it would
    let two hold the same name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _taken(descriptor):
            log.info("another process fetches this model: waiting", extra={"file": str(target)})
            # Asked again and again: a thread that waits in flock() could not be cancelled.
            while not _taken(descriptor):  # noqa: ASYNC110  # a file has no event
                await asyncio.sleep(_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
