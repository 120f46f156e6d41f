"""Callers at the door of a model."""

from __future__ import annotations

import asyncio

from diglot.service.admission import Admission, Limits, Place
from diglot.service.call import Call


def call(caller: str = "one", deadline: float | None = None) -> Call:
    return Call("req_test", caller, deadline)


def limits(running: int = 1, queued: int = 10, queue_seconds: float = 30) -> Limits:
    return Limits(running, queued, queue_seconds)


async def settled() -> None:
    """Lets whoever can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


class Asking:
    """Requests of several callers, and the order in which they got their places."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.order: list[str] = []
        self.places: list[Place] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, caller: str, answers: int = 1) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._enter(caller, answers))
        self._tasks.append(task)
        await settled()
        return task

    async def _enter(self, caller: str, answers: int) -> None:
        place = await self.admission.enter(call(caller), answers)
        self.order.append(caller)
        self.places.append(place)

    async def leave(self) -> None:
        """The answer that has taken longest ends."""
        self.places.pop(0).leave()
        await settled()

    async def until_all_are_served(self) -> list[str]:
        while self.places:
            await self.leave()
        assert (self.admission.running, self.admission.queued) == (0, 0)
        await asyncio.gather(*self._tasks)
        return self.order
