"""What the core knows of a call besides its request."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from .errors import DeadlineExceeded
from .meter import Meter
from .model_names import ModelNames

T = TypeVar("T")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)  # not frozen: that would cost each call five times as much to make
class Call:
    """One call, whatever face it came in by. Never changed: `within` and `replace` make another.

    `caller` is the id of the key that was shown, or "anonymous" where none is asked for.
    `deadline` is absolute, in the running loop's time; None means no limit.
    `models` are those that the caller may use; None means all.
    `trace` is the W3C trace context that it came with, or under which it goes on: traceparent and
    perhaps tracestate after it, as headers and metadata have them.
    `whole` says that the answer goes out in one piece, so that engines may ask for it in one.
    """

    request_id: str
    caller: str
    deadline: float | None = None
    models: ModelNames | None = None
    meter: Meter = field(default_factory=Meter, compare=False, repr=False)
    trace: tuple[tuple[str, str], ...] = ()
    whole: bool = False

    def in_one_piece(self) -> Call:
        """The same, of a caller who waits for the whole answer."""
        # By hand: `replace` takes five times as long, and this is every unary call.
        return Call(
            self.request_id,
            self.caller,
            self.deadline,
            self.models,
            self.meter,
            self.trace,
            whole=True,
        )

    def within(self, seconds: float) -> Call:
        """The same, but for no longer than so many seconds from now."""
        ends = asyncio.get_running_loop().time() + seconds
        if self.deadline is not None and self.deadline <= ends:
            return self
        return replace(self, deadline=ends)


def new_request_id(wanted: str | None) -> str:
    """The id that the caller gave the call, if it can stand in a log line; else a new one."""
    if wanted is not None and _REQUEST_ID.fullmatch(wanted):
        return wanted
    return f"req_{secrets.token_hex(16)}"


class Expiry:
    """Ends the wait for an engine when the call's deadline passes.

    `asyncio.timeout` around each wait would set and cancel a timer per chunk, and around the
    whole generation could strike while the consumer has the chunk. This is one timer per
    call, which interrupts only a wait inside `next`.
    """

    def __init__(self, deadline: float) -> None:
        self._task: asyncio.Task[object] | None = None
        self._passed = False
        # Asked for once: to ask for the running loop is a system call before Python 3.12.
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(deadline, self._strike)

    def _strike(self) -> None:
        self._passed = True
        if self._task is not None:
            self._task.cancel()

    async def next(self, items: AsyncIterator[T]) -> T:
        """The iterator's next item. Raises DeadlineExceeded if time runs out meanwhile."""
        if self._has_passed():
            raise DeadlineExceeded
        task = asyncio.current_task(self._loop)
        assert task is not None
        cancelling = task.cancelling()
        self._task = task
        try:
            return await anext(items)
        except BaseException as error:
            # As asyncio.timeout does: only a cancellation that is ours alone becomes an error, and
            # ours is taken back, whatever the engine has made of it.
            if (
                self._has_passed()
                and task.uncancel() <= cancelling
                and isinstance(error, asyncio.CancelledError)
            ):
                raise DeadlineExceeded from None
            raise
        finally:
            self._task = None

    def _has_passed(self) -> bool:
        return self._passed

    def disarm(self) -> None:
        self._timer.cancel()
