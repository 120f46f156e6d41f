"""HTTP as downloads need it."""

from __future__ import annotations

import aiohttp
from aiohttp import hdrs
from yarl import URL

from .errors import ModelStoreError

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
# What ails the way to a server, as opposed to this machine's disk.
CONNECTION_FAULTS = (aiohttp.ClientError, ConnectionError, TimeoutError)


class HttpRefusal(ModelStoreError):
    """The server answered, but not with what was asked for."""

    def __init__(self, origin: str, status: int, reason: str | None) -> None:
        super().__init__(f"{origin} cannot be fetched: {status} {reason or ''}".rstrip())
        self.status = status


class BearerToken:
    """Sends a token to one origin, wherever redirects lead from there.

    A middleware, because a header of the request would clash with a netrc file's entry.
    """

    def __init__(self, origin: URL, token: str) -> None:
        self._origin = origin
        self._token = token

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if request.url.origin() == self._origin:
            request.headers[hdrs.AUTHORIZATION] = f"Bearer {self._token}"
        return await handler(request)


def open_session(token: BearerToken | None = None) -> aiohttp.ClientSession:
    """With the environment's proxies. Bodies come as they are sent, so that ranges add up."""
    return aiohttp.ClientSession(
        headers={hdrs.ACCEPT_ENCODING: "identity", hdrs.USER_AGENT: "diglot"},
        timeout=_TIMEOUT,
        trust_env=True,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=() if token is None else (token,),
    )


def fault(error: Exception) -> str:
    """An exception in words; several kinds have none of their own."""
    return str(error) or type(error).__name__
