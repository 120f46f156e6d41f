"""How long a caller is ready to wait."""

from __future__ import annotations

import re

from aiohttp import web
from multidict import istr

from diglot.v1 import error_pb2

from .errors import Refusal

HEADER = istr("X-Request-Timeout")

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def timeout_of(request: web.Request, most: float) -> float:
    """Seconds that the call may take: what the caller says, and never more than `most`."""
    text = request.headers.get(HEADER)
    if text is None:
        return most
    seconds = float(text) if _SECONDS.fullmatch(text) else 0
    if seconds <= 0:
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_VALUE,
            f"Invalid {HEADER} header: it must be a number of seconds above 0, like 30 or 2.5.",
            HEADER,
        )
    return min(seconds, most)
