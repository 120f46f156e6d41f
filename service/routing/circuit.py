"""Whether a deployment that keeps failing is asked at all.

closed ──(5 failures in a row, or it asks for a pause)──▶ open ──(the pause is over)──▶ probe
   ▲                                                        ▲                             │
   └──────────────────(the probe's first token)─────────────┼─────────────────────────────┤
                                                            └──(it fails: a longer pause)─┘
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 5
"""In a row; fewer say little where requests are many."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
LONGEST_ASKED = 300.0
"""Seconds that a Retry-After is believed. A quota that comes back in a day is worth a request
every five minutes to those who have another deployment anyway."""

_OURS = 1.0
# What our own errors advise where an upstream says nothing: no reason to leave it out.


class Circuit:
    """Hears of every attempt. Opens only where it is told that others can take over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = 0.0
        self._until: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        """Whether it is in good standing."""
        return self._until is None

    @property
    def admits(self) -> bool:
        """Whether a request may be sent: any while closed, one at a time after the pause."""
        if self._until is None:
            return True
        return not self._probing and self._clock() >= self._until

    def enter(self) -> bool:
        """A request is being sent. True if what becomes of it decides: hand that on to the
        other methods, and call `leave` at last."""
        self._probing = not self.closed
        return self._probing

    def answered(self, probe: bool) -> None:
        """The first token has come. A probe has passed by that: its answer may take minutes."""
        if probe:
            self._until = None
            self._failures = 0

    def succeeded(self) -> None:
        """The answer came to its end, or was a refusal that is about the request."""
        if self.closed:
            self._failures = 0
            self._pause = 0.0

    def failed(self, probe: bool, retry_after: float | None, *, spare: bool) -> None:
        """`retry_after` is in seconds; `spare` says whether others can take over.

        Requests that were sent before it opened say nothing new when they fail.
        """
        if self.closed:
            self._failures += 1
            asked = retry_after is not None and retry_after > _OURS
            if spare and (asked or self._failures >= FAILURES):
                self._open(retry_after)
        elif probe:
            self._open(retry_after)

    def leave(self, probe: bool) -> None:
        """The attempt is over, whatever became of it: the next one may be a probe."""
        if probe:
            self._probing = False

    def _open(self, retry_after: float | None) -> None:
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        asked = min(retry_after or 0.0, LONGEST_ASKED)
        self._until = self._clock() + max(self._pause, asked)
