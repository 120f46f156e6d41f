"""What the workers say of themselves when they are asked, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from .link import Message
from .process import WorkerEndedError, WorkerProcess

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from ...telemetry.totals import Totals

ANSWERED_WITHIN = 2.0
"""Seconds that a worker has to say what it has counted, and whether it is ready."""


class Census:
    """Without `counting`, for readiness alone."""

    def __init__(self, *, counting: bool) -> None:
        self._totals: Totals | None = None
        if counting:
            # Prometheus' client takes a while to import.
            from ...telemetry.totals import Totals

            self._totals = Totals()

    async def metrics(self, workers: Collection[WorkerProcess]) -> Collector:
        """What these have counted, and those that have ended."""
        assert self._totals is not None, "only if it counts"
        indices: dict[object, int] = {worker: worker.index for worker in workers}
        for worker, answer in await _asked("metrics", workers):
            self._totals.hear(worker, answer["text"])
        return self._totals.collector(indices)

    async def unready(self, workers: Iterable[WorkerProcess]) -> str | None:
        """Why no call would be answered now; None if one of these would."""
        reasons = [answer["unready"] for _, answer in await _asked("readiness", workers)]
        return None if None in reasons else next(iter(reasons), "no worker answers")

    def hear(self, worker: WorkerProcess, text: str) -> None:
        """What it has counted, which it says unasked time and again, and before it ends."""
        if self._totals is not None:
            self._totals.hear(worker, text)

    def bury(self, worker: WorkerProcess) -> None:
        if self._totals is not None:
            self._totals.bury(worker)


async def _asked(do: str, workers: Iterable[WorkerProcess]) -> list[tuple[WorkerProcess, Message]]:
    """The answers of those that answer in time."""

    async def answer(worker: WorkerProcess) -> tuple[WorkerProcess, Message] | None:
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                return worker, await worker.ask(do)
        except (WorkerEndedError, TimeoutError):
            return None

    answers = await asyncio.gather(*map(answer, workers))
    return [each for each in answers if each is not None]
