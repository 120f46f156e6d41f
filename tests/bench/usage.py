"""What processes use of the machine, their descendants included. Linux only: /proc tells."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
MIB = 2**20


def cpu_seconds(processes: Iterable[int], *, descendants: bool = True) -> float:
    """User and system time so far."""
    counted = _with_descendants(processes) if descendants else processes
    return sum(map(_cpu_seconds, counted))


def machine_seconds() -> float:
    """What all processors have spent so far, for whomever."""
    line = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) * _TICK


def open_files() -> None:
    """Lets this process, and those that it starts, have as many open as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def rss(processes: Iterable[int]) -> int:
    """Bytes in memory now. Pages that two of them share count twice."""
    return sum(_rss(process) for process in _with_descendants(processes))


def _with_descendants(processes: Iterable[int]) -> Iterator[int]:
    for process in processes:
        yield process
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{process}/task").iterdir():
                yield from _with_descendants(map(int, (task / "children").read_text().split()))


def _cpu_seconds(process: int) -> float:
    # The name, in parentheses, may hold spaces. User, system, and those of reaped children.
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * _TICK
    return 0


def _rss(process: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return 0
