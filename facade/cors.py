"""Pages of other origins: who of them may ask, and read what they are answered (CORS).

A browser asks for leave before it sends a key, without one; and keeps an answer from a page that
the answer does not name. Everybody else is neither kept from anything by this, nor let in: that is
what keys are for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from .response import JsonResponse

Answered: TypeAlias = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

ANY = "*"
"""In the place of an origin: pages of all."""

_LEAVE = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, DELETE",
    # SDKs send a dozen of their own (x-stainless-…). "*" means all but this one.
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, *",
    # A day; Chromium does not believe it for longer than two hours.
    hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
}
# What SDKs look at besides the type of the body.
_EXPOSED = "x-request-id, x-should-retry, Retry-After"


class Cors:
    """Gives pages leave, and answers what makes them readable."""

    def __init__(self, origins: Collection[str], answered: Answered) -> None:
        """`origins` as browsers write them, or ANY among them; `answered` answers the requests."""
        self._any = ANY in origins
        self._origins = frozenset(origins)
        self._answered = answered

    async def answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._asks_for_leave(request):
            return web.Response(status=204, headers=_LEAVE)
        response = await self._answered(request, handler)
        if isinstance(response, JsonResponse):
            await self.name_origin(request, response)
        return response

    async def name_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        """For all but a JsonResponse also on_response_prepare: streams are sent before they are
        returned."""
        if not self._any:
            response.headers[hdrs.VARY] = hdrs.ORIGIN
        origin = self._leave_for(request)
        if origin is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED

    def _asks_for_leave(self, request: web.Request) -> bool:
        return (
            request.method == hdrs.METH_OPTIONS
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
            and self._leave_for(request) is not None
        )

    def _leave_for(self, request: web.Request) -> str | None:
        """The origin that the answer names; None: whoever asks has no leave, or is no page."""
        if self._any:
            return ANY
        origin = request.headers.get(hdrs.ORIGIN)
        return origin if origin in self._origins else None
