"""Where the log's lines go: into a file descriptor, without ever waiting for who reads it.

A pipe, a terminal and a socket take what is written only while somebody reads: a log shipper that
hangs, or Ctrl-S on a terminal, would stop whoever writes there, and that is the event loop. So a
line is written at once where there is room for it; else it waits, with those that follow, for a
thread that has the time. What is too much to wait is dropped, counted, and spoken of when
somebody reads again.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

MOST_WAITING = 2**20
"""Bytes of lines that may wait: some thousands."""

_FAREWELL = 1.0
# Seconds that what waits has, when the process ends, to be read after all.


class LogStream:
    """Not to be written to by two threads at once: a `logging.Handler` has a lock for that."""

    def __init__(
        self,
        descriptor: int,
        told: Callable[[int], bytes],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """`told` makes the line that says how many have been dropped."""
        self.dropped = 0
        """Lines, so far."""
        self._descriptor = descriptor
        self._write, self._own = _without_waiting(descriptor)
        self._told = told
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._unsaid = 0
        # Whether lines go by way of the thread, so that they keep their order.
        self._behind = False
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Returns at once, whoever reads or does not."""
        if not self._behind:
            try:
                line = self._written(line)
            except OSError:  # nobody will ever read it
                self.dropped += 1
                return
            if not line:
                return
        with self._changed:
            if self._size + len(line) > self._most_waiting and self._lines:
                self.dropped += 1
                self._unsaid += 1
                return
            self._lines.append(line)
            self._size += len(line)
            self._behind = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._catch_up, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Returns when no line waits, or when they have waited for long enough."""
        with self._changed:
            self._changed.wait_for(lambda: not self._behind, _FAREWELL)

    def close(self) -> None:
        """Lines that wait are lost: flush it first."""
        with self._changed:
            # The thread may be in the middle of a line.
            if self._own is not None and not self._behind:
                os.close(self._own)
                self._own = None

    def _written(self, line: bytes) -> bytes:
        """What is left of it. Raises OSError."""
        while line and (count := self._write(line)):
            line = line[count:]
        return line

    def _catch_up(self) -> None:
        room = select.poll()
        room.register(self._descriptor, select.POLLOUT)
        while True:
            line = self._next()
            try:
                while line := self._written(line):
                    room.poll()
            except OSError:
                with self._changed:
                    self.dropped += 1

    def _next(self) -> bytes:
        """The next line, once there is one."""
        with self._changed:
            while not self._lines:
                if unsaid := self._unsaid:
                    self._unsaid = 0
                    return self._told(unsaid)
                self._behind = False
                self._changed.notify_all()
                self._changed.wait()
            line = self._lines.popleft()
            self._size -= len(line)
            return line


def _without_waiting(descriptor: int) -> tuple[Callable[[bytes], int], int | None]:
    """What writes as much as there is room for, and says how much; and a descriptor of its own."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):  # a file has no reader to wait for
        return partial(os.write, descriptor), None
    if sys.platform == "linux" and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        # Opened again: O_NONBLOCK on the descriptor itself would hold for all processes that
        # share it, the shell among them.
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        try:
            own = os.open(f"/proc/self/fd/{descriptor}", flags)
        except OSError:
            pass  # another user's
        else:
            return partial(_or_none, own), own
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    # So much a pipe takes that has room at all.
    return lambda data: os.write(descriptor, data[: select.PIPE_BUF]) if room.poll(0) else 0, None


def _or_none(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
