"""Whether something else is at work on the machine: then it is that which is measured."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from .usage import cpu_seconds, machine_seconds

LIMIT = 0.08
"""The share of the machine that others may have."""
_GLANCE = 0.5
_LONGEST = 20.0

_patience = 240.0
"""Seconds that are left for waiting, in all: a benchmark ends on a busy machine, too."""


class Others:
    """What processes other than this one and its descendants take, from here on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._spent = self._spending()

    @property
    def share(self) -> float:
        """Of all cores, 0 to 1."""
        seconds = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        return max(0.0, self._spending() - self._spent) / seconds

    def _spending(self) -> float:
        return machine_seconds() - cpu_seconds([os.getpid()])


def impatient() -> None:
    """From now on `quiet` does not wait."""
    global _patience
    _patience = 0.0


async def quiet() -> None:
    """Waits until there is nothing else at work, or patience is at its end."""
    global _patience
    began = time.perf_counter()
    while (waited := time.perf_counter() - began) < min(_LONGEST, _patience):
        others = Others()
        await asyncio.sleep(_GLANCE)
        if others.share < LIMIT:
            break
        print(f"waiting: others take {others.share:.0%} of the machine", file=sys.stderr)
    _patience -= min(waited, _patience)
