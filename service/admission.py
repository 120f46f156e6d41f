"""How many answers a model gives at a time, and who waits meanwhile, and for how long.

    enter ──► room? ──yes──────────────────────────► a Place, until it is left
                │no                                      ▲
                ▼                                        │ a place is left: the next caller's turn
              queue full? ──no──► waits in its caller's line
                │yes                  │ gone, or too long
                ▼                     ▼
              QueueFull             out of the line

Who could not be answered before its deadline is refused like one who finds the queue full.

Callers take turns, so one with a thousand requests keeps another's single one waiting for no
longer than the answer before it. A queue that is full has room for who has less in it than its
share: the caller who has most loses what it put there last.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from .call import Call
from .errors import ChatError, DeadlineExceeded, QueueFull

# Of what is known of the time that an answer takes, the newest one's share.
_NEWEST = 0.1
_LONGEST_RETRY = 60.0
# What a wait may take of what is expected.
_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model takes on."""

    running: int
    """Answers at a time. A request that asks for several (`n`) takes as many places."""
    queued: int
    """Requests that may wait."""
    queue_seconds: float
    """How long each may wait."""

    def share(self, count: int) -> Limits:
        """For each of `count` processes that serve the model together."""
        return Limits(-(-self.running // count), -(-self.queued // count), self.queue_seconds)


class Place:
    """Room for one request. Whoever was given it leaves it, once."""

    __slots__ = ("_admission", "_began", "_size", "waited")

    def __init__(self, admission: Admission, size: int, waited: float) -> None:
        self._admission = admission
        self._size = size
        self._began = monotonic()
        self.waited = waited
        """Seconds in the queue."""

    def leave(self) -> None:
        self._admission._left(self._size, monotonic() - self._began)


class _Waiter:
    """A request in the queue."""

    __slots__ = ("caller", "outcome", "size")

    def __init__(self, caller: str, size: int, outcome: _Outcome) -> None:
        self.caller = caller
        self.size = size
        self.outcome = outcome


# None: it has its place. Not as the future's exception, which nobody might come to look at.
_Outcome: TypeAlias = "asyncio.Future[ChatError | None]"
_Line: TypeAlias = "OrderedDict[_Waiter, None]"


class Admission:
    """The places of one model, and the queue for them. Belongs to one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.running = 0
        """Places that are taken."""
        self.queued = 0
        """Requests that wait."""
        self._limits = limits
        # Whose turn it is comes first.
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        # Seconds that an answer takes, of late.
        self._service = 0.0

    @property
    def limits(self) -> Limits:
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        """From now on. What runs goes on, and what waits keeps its place."""
        self._limits = limits
        self._admit()

    async def enter(self, call: Call, answers: int = 1) -> Place:
        """Returns once there is room for so many answers.

        Raises QueueFull, or DeadlineExceeded where the call's comes first.
        """
        limits = self._limits
        # More than there is room for at all are given in turns.
        size = answers if answers < limits.running else limits.running
        if not self.queued and self.running + size <= limits.running:
            self.running += size
            return Place(self, size, 0.0)
        return await self._wait(call, size)

    async def _wait(self, call: Call, size: int) -> Place:
        loop = asyncio.get_running_loop()
        now = loop.time()
        line = self._lines.get(call.caller)
        if call.deadline is not None:
            # Who would be answered too late is not let in: work that is done in vain is taken from
            # others.
            wait = self._turn(line) * self._service / self._limits.running
            if now + _MARGIN * wait + self._service > call.deadline:
                raise self._refusal()
        if self.queued >= self._limits.queued:
            self._make_room(line)
            line = self._lines.get(call.caller)
        waiter = _Waiter(call.caller, size, loop.create_future())
        if line is None:
            line = self._lines[call.caller] = OrderedDict()
        line[waiter] = None
        self.queued += 1
        ends = now + self._limits.queue_seconds
        expired: Callable[[], ChatError] = self._refusal
        if call.deadline is not None and call.deadline < ends:
            ends, expired = call.deadline, DeadlineExceeded
        timer = loop.call_at(ends, lambda: self._expel(waiter, expired()))
        try:
            refusal = await waiter.outcome
        except asyncio.CancelledError:
            # The place may have been handed over in the same moment.
            if waiter.outcome.cancelled():
                self._remove(waiter)
                self._admit()
            elif waiter.outcome.result() is None:
                self._give_back(waiter.size)
            raise
        finally:
            timer.cancel()
        if refusal is not None:
            raise refusal
        return Place(self, waiter.size, loop.time() - now)

    def _turn(self, line: _Line | None) -> int:
        """How many go first of those who wait, if one more comes to this line."""
        if line is None:
            return len(self._lines)
        return min(self.queued, (len(line) + 1) * len(self._lines))

    def _make_room(self, line: _Line | None) -> None:
        """In a queue that is full. Raises QueueFull unless another has too much in it."""
        own = 0 if line is None else len(line)
        callers = len(self._lines) + (line is None)
        # Almost always the end: a refusal must cost next to nothing.
        if own >= self._limits.queued // callers:
            raise self._refusal()
        longest = max(self._lines.values(), key=len)
        if len(longest) <= own + 1:
            raise self._refusal()
        self._expel(next(reversed(longest)), self._refusal())

    def _expel(self, waiter: _Waiter, error: ChatError) -> None:
        if not waiter.outcome.done():
            self._remove(waiter)
            waiter.outcome.set_result(error)
            self._admit()

    def _remove(self, waiter: _Waiter) -> None:
        line = self._lines.get(waiter.caller)
        if line is None or waiter not in line:
            return
        del line[waiter]
        self.queued -= 1
        if not line:
            del self._lines[waiter.caller]

    def _left(self, size: int, took: float) -> None:
        self._service += (took - self._service) * (_NEWEST if self._service else 1)
        self._give_back(size)

    def _give_back(self, size: int) -> None:
        self.running -= size
        if self.queued:
            self._admit()

    def _admit(self) -> None:
        """Hands places over for as long as there are any, one to each caller in turn."""
        while self._lines:
            caller, line = next(iter(self._lines.items()))
            waiter = next(iter(line))
            # Limits may have become narrower than what was asked for.
            waiter.size = min(waiter.size, self._limits.running)
            if self.running + waiter.size > self._limits.running:
                return
            self._remove(waiter)
            if line:
                self._lines.move_to_end(caller)
            if not waiter.outcome.done():  # cancelled, and has not come to say so
                self.running += waiter.size
                waiter.outcome.set_result(None)

    def _refusal(self) -> QueueFull:
        """Says to come again when the queue of now will have been served."""
        wait = self.queued * self._service / self._limits.running
        return QueueFull(math.ceil(min(max(wait, 1.0), _LONGEST_RETRY)))
