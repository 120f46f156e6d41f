"""Who asks. The façade holds no keys: it passes them on, and the service decides.

The rule is "no key, no answer, except for health", and for the API's description, which is the
same everywhere. The service applies it to every call. What is left are answers that need no
call: the façade's own refusals. Before it gives one, or takes in a large body, it has the key
checked by the cheapest call there is.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from aiohttp import hdrs, web

from diglot.v1 import error_pb2
from diglot.v1.model_pb2 import ListModelsRequest

from .channel import Channel
from .errors import Refusal
from .request_id import REQUEST_ID
from .watch import TRACE

# Together with the rest it must fit into 8 KiB of metadata.
_LONGEST_KEY = 4096
# The key's letters apart: to compare them in any case costs more than all the rest.
_BEARER = re.compile(rf"(?i:bearer) +([\x21-\x7e]{{1,{_LONGEST_KEY}}})")
_CHECK_TIMEOUT = 10.0

_KEY: ContextVar[str | None] = ContextVar("key", default=None)


class Auth:
    """The rule, applied to requests."""

    def __init__(self, channel: Channel, require_key: bool) -> None:
        self._channel = channel
        self._require_key = require_key

    def require_bearer(self, request: web.Request) -> None:
        """Takes note of a request's key. Refuses one that has none at all, or none that could be
        one."""
        key = _key_of(request)
        _KEY.set(key)
        if self._require_key and key is None:
            raise _no_key(request)

    async def check(self, request: web.Request) -> None:
        """Raises AioRpcError unless the service knows the key."""
        if self._require_key:
            await self._channel.ListModels(
                ListModelsRequest(), timeout=_CHECK_TIMEOUT, metadata=self.metadata()
            )

    def metadata(self) -> list[tuple[str, str]]:
        """What the service is told of the caller of the request that is being answered."""
        metadata = [("x-request-id", REQUEST_ID.get()), *TRACE.get()]
        key = _KEY.get()
        if key is not None:
            metadata.append(("authorization", f"Bearer {key}"))
        return metadata


def _no_key(request: web.Request) -> Refusal:
    # Of a key that is empty only the scheme arrives.
    if request.headers.get(hdrs.AUTHORIZATION, "").strip().lower() in ("", "bearer"):
        message = (
            "You didn't provide an API key. You need to provide your API key in an "
            "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    else:
        message = (
            "The Authorization header of your request is not of the form 'Bearer KEY', with a key "
            f"of at most {_LONGEST_KEY} characters of ASCII, none of them a space."
        )
    return Refusal(error_pb2.ERROR_REASON_INVALID_API_KEY, message)


def _key_of(request: web.Request) -> str | None:
    header = request.headers.get(hdrs.AUTHORIZATION)
    found = header is not None and _BEARER.fullmatch(header.strip())
    return found.group(1) if found else None
