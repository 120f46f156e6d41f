"""Looking at processes from outside."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000


def is_alive(pid: int) -> bool:
    """A zombie is dead: that nobody has buried it yet is not its doing."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    """The process ids of its children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in map(int, listed) if is_alive(child)]


def processor_time(pid: int) -> dict[int, int]:
    """Of each of its threads, in clock ticks."""
    taken = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        fields = (thread / "stat").read_text().rpartition(")")[2].split()
        taken[int(thread.name)] = int(fields[11]) + int(fields[12])
    return taken


@contextmanager
def held(thread: int) -> Iterator[None]:
    """One thread of a child stands still, as in a deadlock; the others go on."""
    _ptrace(_PTRACE_SEIZE, thread)
    _ptrace(_PTRACE_INTERRUPT, thread)
    os.waitpid(thread, _WALL)
    try:
        yield
    finally:
        try:
            _ptrace(_PTRACE_DETACH, thread)
        except ProcessLookupError:  # it was killed; whoever holds it has to bury it
            os.waitpid(thread, _WALL)


def _ptrace(request: int, thread: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if call(request, thread, None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
