"""Whether the client of a stream reads it."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import TracebackType

from .errors import DeadlineExceeded


class Reading:
    """Ends a stream whose client does not read: gRPC's flow control makes a write wait for it.

    with Reading(60) as reading:
        async for chunk in chunks:
            reading.waits_since = monotonic()
            await context.write(chunk)
            reading.waits_since = 0.0

    Two attributes are all that a chunk costs; `asyncio.timeout` would set and cancel a timer for
    each. Raises DeadlineExceeded.
    """

    __slots__ = ("_cancelling", "_passed", "_task", "_timeout", "_timer", "waits_since")

    def __init__(self, timeout: float) -> None:
        """`timeout` is in seconds, and for each write."""
        self.waits_since = 0.0
        self._timeout = timeout
        self._passed = False

    def __enter__(self) -> Reading:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._timeout, self._look)
        return self

    def _look(self) -> None:
        now = monotonic()
        left = (self.waits_since or now) + self._timeout - now
        if left <= 0:
            self._passed = True
            self._task.cancel()
        else:
            self._timer = asyncio.get_running_loop().call_later(left, self._look)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        # As asyncio.timeout does: only a cancellation that is ours alone becomes an error.
        if (
            self._passed
            and self._task.uncancel() <= self._cancelling
            and isinstance(error, asyncio.CancelledError)
        ):
            raise DeadlineExceeded("The answer was not read for longer than the server allows.")
