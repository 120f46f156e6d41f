"""Where every call comes in, whatever carries it: who calls, under what name, until when."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Protocol

from .call import Call, new_request_id
from .errors import ChatError, name_of
from .keys import Caller
from .logs import event
from .status import mapping

logger = logging.getLogger("diglot.entrance")

# https://www.w3.org/TR/trace-context/
_TRACEPARENT = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_TRACESTATE = re.compile("[\x20-\x7e]{1,512}")

ANONYMOUS = Caller(key_id="anonymous", name="anonymous")


class Authenticator(Protocol):
    """What tells callers apart."""

    def authenticate(self, authorization: str | None) -> Caller:
        """Takes the value of `authorization`; raises InvalidKey."""


class NoKeys:
    """Lets everybody in: for a server whose configuration says so."""

    def authenticate(self, authorization: str | None) -> Caller:
        return ANONYMOUS


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The id that the caller gave the call, or a new one."""
    return new_request_id(_value(metadata, "x-request-id"))


def admit(
    metadata: Iterable[tuple[str, str | bytes]],
    timeout: float | None,
    request_id: str,
    authenticator: Authenticator,
) -> Call:
    """Raises InvalidKey. `timeout` is in seconds from now; None means no limit."""
    try:
        caller = authenticator.authenticate(_value(metadata, "authorization"))
    except ChatError as error:
        # The core logs a line for every call; this one does not come to it.
        event(
            logger,
            "refused",
            {
                "request_id": request_id,
                "outcome": name_of(error).lower(),
                "status": mapping(error.reason).http_status,
            },
        )
        raise
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    return Call(
        request_id=request_id,
        caller=caller.key_id,
        deadline=deadline,
        models=caller.models,
        trace=_trace(metadata),
    )


def _trace(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str], ...]:
    """The trace context, if it is one: it is passed on, and must harm no header."""
    parent = _value(metadata, "traceparent")
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return ()
    state = _value(metadata, "tracestate")
    if state is None or not _TRACESTATE.fullmatch(state):
        return (("traceparent", parent),)
    return ("traceparent", parent), ("tracestate", state)


def _value(metadata: Iterable[tuple[str, str | bytes]], wanted: str) -> str | None:
    for key, value in metadata:
        if key == wanted:
            return value if isinstance(value, str) else None
    return None
