"""Where every call comes in, whatever carries it: who calls, under what name, until when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from .call import Call, new_request_id
from .keys import Caller

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
    caller = authenticator.authenticate(_value(metadata, "authorization"))
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    return Call(request_id=request_id, caller=caller.key_id, deadline=deadline)


def _value(metadata: Iterable[tuple[str, str | bytes]], wanted: str) -> str | None:
    for key, value in metadata:
        if key == wanted:
            return value if isinstance(value, str) else None
    return None
