"""A worker's place, in which there is always one, or soon will be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .process import WorkerProcess

logger = logging.getLogger("diglot.workers")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
STABLE_AFTER = 30.0
"""Seconds for which a worker must have listened for its end to count as the first again."""
STARTED_WITHIN = 90.0
"""Seconds that a worker has to get ready before the one that it replaces is told to end."""

Start = Callable[[int], Awaitable[WorkerProcess]]
"""Starts a worker with this index. Raises OSError."""


class NotStartedError(Exception):
    """A new worker did not get ready; the text says why."""


class Slot:
    """`index` counts from 1, and is that of every worker that is here."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.worker: WorkerProcess | None = None
        self.listens = asyncio.Event()
        """Set by the first that does; so is the next."""
        self.ready = asyncio.Event()
        self.changing = asyncio.Lock()
        """Whoever has it decides who comes here next."""

    @property
    def answers(self) -> bool:
        """Whether who is here is ready, and gives signs of life."""
        worker = self.worker
        return worker is not None and worker.ready.is_set() and not worker.silent

    async def keep(self, start: Start) -> None:
        """Sees to it that there is a worker, until it is cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            try:
                async with self.changing:
                    if self.worker is None:
                        self.worker = await start(self.index)
                worker = self.worker
                reason = await worker.ended()
            except OSError as error:
                worker, reason = None, error.strerror or str(error)
            if self.worker is not worker:
                continue  # it was replaced
            self.worker = None
            since = worker.listens_since if worker else None
            if since is not None and loop.time() - since >= STABLE_AFTER:
                failures = 0
            pause = 0.0 if failures == 0 else min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            failures += 1
            logger.error(
                "a worker ended; starting it again",
                extra={
                    "worker": self.index,
                    "pid": worker.pid if worker else None,
                    "reason": reason,
                    "pause_seconds": pause,
                },
            )
            await asyncio.sleep(pause)

    async def replace(self, start: Start) -> WorkerProcess | None:
        """Puts another one here once that is ready. Returns the one before, which goes on.

        Raises NotStartedError: then all is as it was.
        """
        async with self.changing:
            try:
                new = await start(self.index)
            except OSError as error:
                raise NotStartedError(error.strerror) from error
            ready = asyncio.create_task(new.ready.wait())
            ended = asyncio.create_task(new.ended())
            try:
                await asyncio.wait(
                    {ready, ended}, timeout=STARTED_WITHIN, return_when=asyncio.FIRST_COMPLETED
                )
                if ended.done():
                    raise NotStartedError(ended.result())
                if not ready.done():
                    raise NotStartedError(f"it had {STARTED_WITHIN:g} s")
            except BaseException:
                new.kill()
                raise
            finally:
                ready.cancel()
                ended.cancel()
            old, self.worker = self.worker, new
        logger.info(
            "a worker is replaced",
            extra={"worker": self.index, "pid": new.pid, "earlier": old.pid if old else None},
        )
        return old
