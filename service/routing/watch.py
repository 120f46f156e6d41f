"""Ends the wait for a deployment that takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ChatError, DeadlineExceeded, UpstreamUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a deployment may take, in seconds; None is as long as the call has."""

    first_token: float | None = None
    """From sending the request to the first token of the answer."""
    between_tokens: float | None = None
    """From each token to the next."""
    total: float | None = None
    """From sending the request to the end of the answer."""

    def __bool__(self) -> bool:
        return any(each is not None for each in (self.first_token, self.between_tokens, self.total))


class Watch:
    """Waits for a deployment's chunks, for as long as its timeouts allow.

    There is one timer, which is not touched when a chunk comes: it only finds out, when it
    strikes, whether the present wait is old enough, and else is set for when that will be. So a
    chunk costs a look at the clock. As with `call.Expiry`, only a wait inside `next` is
    interrupted; what the consumer takes its time with does not count, but for the total.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._began = self._since = self._loop.time()
        self._limit = timeouts.first_token
        self._what = "began no answer within {:g} s"
        self._task: asyncio.Task[object] | None = None
        self._error: ChatError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._set()

    async def next(self, items: AsyncIterator[T]) -> T:
        """The iterator's next item. Raises UpstreamUnavailable if it takes too long, and
        DeadlineExceeded if the total passed while the consumer had an item."""
        if error := self._late():
            raise error
        task = asyncio.current_task(self._loop)
        assert task is not None
        cancelling = task.cancelling()
        self._since = self._loop.time()
        self._task = task
        try:
            return await anext(items)
        except BaseException as raised:
            # As asyncio.timeout does: only a cancellation that is ours alone becomes an error, and
            # ours is taken back, whatever the engine has made of it.
            if (
                (error := self._late())
                and task.uncancel() <= cancelling
                and isinstance(raised, asyncio.CancelledError)
            ):
                raise error from None
            raise
        finally:
            self._task = None

    def began(self) -> None:
        """The first token has come."""
        self._limit = self._timeouts.between_tokens
        self._what = "went silent for {:g} s in the middle of its answer"
        if self._timer is not None:
            self._timer.cancel()
        self._set()

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _late(self) -> ChatError | None:
        return self._error

    def _set(self) -> None:
        """The timer, for the earliest time at which it may be too late."""
        now = self._loop.time()
        dues = []
        if self._limit is not None:
            dues.append((self._since if self._task else now) + self._limit)
        if self._timeouts.total is not None:
            dues.append(self._began + self._timeouts.total)
        self._timer = self._loop.call_at(min(dues), self._strike) if dues else None

    def _strike(self) -> None:
        now = self._loop.time()
        total, limit = self._timeouts.total, self._limit
        if total is not None and now >= self._began + total:
            if self._task is None:
                self._error = DeadlineExceeded()  # the reader's doing as well
            else:
                self._fail(f"The upstream did not finish its answer within {total:g} s.")
        elif self._task and limit is not None and now >= self._since + limit:
            self._fail(f"The upstream {self._what.format(limit)}.")
        else:
            self._set()

    def _fail(self, message: str) -> None:
        self._error = UpstreamUnavailable(message, retry_after=1)
        if self._task is not None:
            self._task.cancel()
