"""The line of a request that never reached the service, which logs all others."""

from __future__ import annotations

import logging

from diglot.v1.error_pb2 import ErrorReason

from .errors import MAPPINGS

_log = logging.getLogger("diglot.http")


def log_refused(request_id: str, reason: ErrorReason.ValueType, **where: str) -> None:
    """Anybody can cause it: it is short, and `where` is all that it has of what was sent."""
    _log.info(
        "refused",
        extra={
            "request_id": request_id,
            **where,
            "outcome": ErrorReason.Name(reason).removeprefix("ERROR_REASON_").lower(),
            "status": MAPPINGS[reason].http_status,
        },
    )
