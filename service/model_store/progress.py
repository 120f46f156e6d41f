"""How far a download is."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here, and with the bytes there will be if that is known."""

_SECONDS = 0.1


class Throttle:
    """Passes on what a person can follow: ten a second, and the last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._next = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + _SECONDS
            self._progress(done, total)
