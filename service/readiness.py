"""Whether something can do its work now, and who wants to know when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Readiness:
    """Starts out not ready. Belongs to one event loop."""

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self._reason = "not started"
        self._listeners: list[Callable[[], None]] = []

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    @property
    def reason(self) -> str:
        """Why it is not ready, in words for people; empty if it is."""
        return "" if self.ready else self._reason

    def up(self) -> None:
        if not self.ready:
            self._ready.set()
            self._tell()

    def down(self, reason: str) -> None:
        """Listeners hear of it only if it was ready: a new reason alone is no change."""
        self._reason = reason
        if self.ready:
            self._ready.clear()
            self._tell()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after each change, until it unsubscribes."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    async def wait(self) -> None:
        """Returns once it is ready."""
        await self._ready.wait()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
