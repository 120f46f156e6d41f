"""When an upstream says to come again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST = 24 * 60 * 60.0
"""Seconds that are passed on at most: what is said to last longer is mistaken, or means never."""

_SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_LONGEST_DATE = 40


def seconds_of(header: str | None, clock: Callable[[], float] = time.time) -> float | None:
    """What a Retry-After comes to: seconds, or the time until a date, by this machine's clock.

    None if there is none, or it is neither.
    """
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST)
    if len(text) > _LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(at - clock(), 0.0), LONGEST)
