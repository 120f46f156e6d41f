"""Spoilt inputs for one target, one after the other, until something goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .mutation import Mutator
from .target import Complaints, Target

# What hangs is a fault, too; far more than anything takes, also on a slow machine.
_TIMEOUT = 30.0
_TRIES_TO_SHORTEN = 300


@dataclass(frozen=True)
class Found:
    """An input that does what none may do."""

    data: bytes
    fault: str


async def campaign(
    target: Target,
    seed: int,
    *,
    goes_on: Callable[[int], bool],
    before: Callable[[bytes], object] = lambda data: None,
) -> tuple[int, Found | None]:
    """The good inputs first, then spoilt ones for as long as `goes_on`, which is told their number.

    `before` sees each input before the target does, in case that is the end of the process.
    """
    mutate = Mutator(target.seeds, Random(seed))
    number = 0
    with Complaints() as complaints:
        while goes_on(number):
            data = target.seeds[number] if number < len(target.seeds) else mutate()
            before(data)
            fault = await fault_of(target, data, complaints)
            number += 1
            if fault is not None:
                shorter = await _shortened(target, data, complaints)
                return number, Found(shorter, fault)
    return number, None


async def fault_of(target: Target, data: bytes, complaints: Complaints) -> str | None:
    """What went wrong, in a line."""
    complaints.clear()
    try:
        async with asyncio.timeout(_TIMEOUT):
            await target.take(data)
        complaints.check()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:2000]
    return None


async def _shortened(target: Target, data: bytes, complaints: Complaints) -> bytes:
    """Less of it that is still a fault, found by leaving out pieces."""
    tries, size = 0, len(data) // 2
    ends = time.monotonic() + _TIMEOUT
    while size and tries < _TRIES_TO_SHORTEN and time.monotonic() < ends:
        start, found = 0, False
        while start < len(data) and tries < _TRIES_TO_SHORTEN:
            shorter = data[:start] + data[start + size :]
            tries += 1
            if await fault_of(target, shorter, complaints) is not None:
                data, found = shorter, True
            else:
                start += size
        if not found:
            size //= 2
    return data
