"""The name of the request that is being answered, in logs, errors and the service's log."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

# Harmless in a log line, in metadata and in a header.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(proposed: str | None) -> str:
    """The client's own, if it is fit for that, else a new one."""
    if proposed is not None and _ACCEPTED.fullmatch(proposed):
        return proposed
    return f"req_{os.urandom(16).hex()}"
