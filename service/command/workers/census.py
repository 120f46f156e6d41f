"""What the workers say of themselves when they are asked, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from .link import Message
from .process import WorkerEndedError, WorkerProcess

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from ...telemetry.totals import Totals

ANSWERED_WITHIN = 2.0
"""Seconds that a worker has to say what it has counted, and whether it is ready."""

_READY = """# HELP diglot_worker_ready Whether the worker can be counted on.
# TYPE diglot_worker_ready gauge
diglot_worker_ready {:d}
"""


class Census:
    """Without `counting`, for readiness alone."""

    def __init__(self, *, counting: bool) -> None:
        self._totals: Totals | None = None
        if counting:
            # Prometheus' client takes a while to import.
            from ...telemetry.totals import Totals

            self._totals = Totals()

    async def metrics(
        self, workers: Collection[WorkerProcess], answering: Mapping[int, bool]
    ) -> Collector:
        """What these have counted, and those that have ended. `workers` are those that there are at
        any time, also while they are asked. `answering` says of each worker's place whether it can
        be counted on."""
        assert self._totals is not None, "only if it counts"
        indices: dict[object, int] = {worker: worker.index for worker in workers}

        async def ask(worker: WorkerProcess) -> None:
            answer = await _answer("metrics", worker)
            # Who has ended meanwhile has been counted for good.
            if answer is not None and worker in workers:
                self.hear(worker, answer["text"])

        await asyncio.gather(*(ask(worker) for worker in workers if not worker.silent))
        for index, counted_on in answering.items():
            indices[index] = index
            self._totals.hear(index, _READY.format(counted_on))
        return self._totals.collector(indices)

    async def unready(self, workers: Iterable[WorkerProcess]) -> str | None:
        """Why no call would be answered now; None as soon as one of these says that it would."""
        asked = [
            asyncio.create_task(_answer("readiness", worker))
            for worker in workers
            if not worker.silent
        ]
        reason = "no worker answers"
        try:
            for each in asyncio.as_completed(asked):
                answer = await each
                if answer is None:
                    continue
                if answer["unready"] is None:
                    return None
                reason = answer["unready"]
        finally:
            for task in asked:
                task.cancel()
        return reason

    def hear(self, worker: WorkerProcess, text: str) -> None:
        """What it has counted, which it says unasked time and again, and before it ends."""
        if self._totals is not None:
            self._totals.hear(worker, text)

    def bury(self, worker: WorkerProcess) -> None:
        if self._totals is not None:
            self._totals.bury(worker)


async def _answer(do: str, worker: WorkerProcess) -> Message | None:
    """None if it does not answer in time."""
    try:
        async with asyncio.timeout(ANSWERED_WITHIN):
            return await worker.ask(do)
    except (WorkerEndedError, TimeoutError):
        return None
