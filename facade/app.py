"""The façade as an aiohttp application."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import grpc.aio
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from diglot.v1 import error_pb2

from .auth import Auth
from .channel import Channel
from .connection import HANDLER, not_http
from .cors import Answered, Cors
from .docs_routes import add_docs
from .errors import ApiError, Refusal, from_refusal, from_rpc_error, internal_error
from .options import OPTIONS, FacadeOptions
from .refused import log_refused
from .request_id import REQUEST_ID, request_id
from .response import JsonResponse
from .routes import PUBLIC_PATHS, Routes
from .server import STOPPING
from .sse import is_gone
from .stored import StoredRoutes
from .watch import TRACE, Watch, trace_of

_log = logging.getLogger(__name__)

_TOO_SLOW = error_pb2.ERROR_REASON_REQUEST_TIMEOUT


def build_app(
    channel: Channel, options: FacadeOptions | None = None, watch: Watch | None = None
) -> web.Application:
    """The application; who builds it keeps the channel, and closes it afterwards. `watch` is shown
    every request.

    Serve it with HttpServer: cancelling calls whose client has gone depends on how.
    """
    options = options or FacadeOptions()
    auth = Auth(channel, options.require_key)
    app = web.Application()
    app[OPTIONS] = options
    app.on_response_prepare.append(_name_request)
    app[HANDLER] = _Answering(app, auth, watch).answer
    Routes(channel, auth, options, to_api_error).add_to(app.router)
    StoredRoutes(channel, auth, options).add_to(app.router)
    add_docs(app.router)
    return app


def to_api_error(error: BaseException) -> ApiError:
    """What the client is told. What nobody foresaw is logged, and the client told nothing."""
    match error:
        case grpc.aio.AioRpcError():
            return from_rpc_error(error)
        case Refusal():
            return from_refusal(error)
        case asyncio.CancelledError():
            return from_refusal(
                Refusal(
                    error_pb2.ERROR_REASON_SHUTTING_DOWN,
                    "The server stopped before the request was done. Please try again.",
                )
            )
    _log.error("request %s failed", REQUEST_ID.get(), exc_info=error)
    return internal_error()


class _Answering:
    """What happens to every request: it gets a name, is shown to the watch, and handed to the one
    that answers it; and exceptions become answers, here and nowhere else.

    It stands in the place of aiohttp's own Application, whose middlewares are wrapped around each
    request anew.
    """

    def __init__(self, app: web.Application, auth: Auth, watch: Watch | None) -> None:
        self._app = app
        self._router = app.router
        # Of paths without variables, by method and path: as many as there are routes.
        self._plain: dict[tuple[str, str], web.UrlMappingMatchInfo] = {}
        self._auth = auth
        self._watch = watch
        self._reply: Answered = self._answered
        if origins := app[OPTIONS].allowed_origins:
            cors = Cors(origins, self._answered)
            app.on_response_prepare.append(cors.name_origin)
            self._reply = cors.answered

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            found = self._plain.get((request.method, request.rel_url.raw_path))
            if found is None:
                found = await self._resolved(request)
            request._match_info = found  # as the Application does it: there is no other way
            if hdrs.EXPECT in request.headers:
                with suppress(web.HTTPExpectationFailed):  # nobody has to expect what is expected
                    await found.expect_handler(request)
        except UnicodeError:  # a path that cannot be written down
            return not_http()
        name = request_id(request.headers.get("x-request-id"))
        REQUEST_ID.set(name)
        trace = trace_of(request.headers)
        if self._watch is None:
            TRACE.set(trace)
            return await self._reply(request, found.handler)
        look = self._watch.begin(request.method, _route(found), trace)
        TRACE.set(look.trace)
        status = None
        try:
            response = await self._reply(request, found.handler)
            status = response.status
            return response
        finally:
            look.end(status, name)

    async def _resolved(self, request: web.Request) -> web.UrlMappingMatchInfo:
        found = await self._router.resolve(request)
        found.add_app(self._app)
        found.freeze()
        path = request.rel_url.raw_path
        if path == _route(found):
            self._plain[request.method, path] = found
        return found

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        protected = request.path not in PUBLIC_PATHS
        try:
            if protected:
                self._auth.require_bearer(request)
            try:
                response = await handler(request)
            except (Refusal, web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
                # Our own knowledge, too, is for callers with a key.
                if protected:
                    await self._auth.check(request)
                raise _as_refusal(error, request) from None
        except (Exception, asyncio.CancelledError) as error:
            if is_gone(request) and isinstance(error, ConnectionError | asyncio.CancelledError):
                raise asyncio.CancelledError from None
            # A cancellation with the client still there means that the server stops.
            told = to_api_error(error)
            if protected and isinstance(error, Refusal):
                _log_refusal(request, error)
            response = JsonResponse(told.body, told.status, told.headers)
            too_slow = isinstance(error, Refusal) and error.reason == _TOO_SLOW
            if too_slow or request.content.exception() is not None:
                # The next request would come after the rest of this one.
                response.force_close()
            if request.writer.output_size > 0:
                # Too late for another answer. aiohttp closes the connection: the client sees
                # that the one it has is not whole.
                raise asyncio.CancelledError from None
        # To close after a stream that did not say so would surprise its client.
        if self._app[STOPPING].is_set() and not response.prepared:
            response.force_close()
        return response


def _route(found: web.UrlMappingMatchInfo) -> str:
    resource = found.route.resource
    return "" if resource is None else resource.canonical


def _log_refusal(request: web.Request, refusal: Refusal) -> None:
    log_refused(
        REQUEST_ID.get(),
        refusal.reason,
        method=request.method[:16],
        path=request.rel_url.raw_path[:100],
    )


def _as_refusal(error: Refusal | web.HTTPException, request: web.Request) -> Refusal:
    where = f"{request.method} {request.path}"[:256]
    match error:
        case Refusal():
            return error
        case web.HTTPMethodNotAllowed():
            return Refusal(
                error_pb2.ERROR_REASON_METHOD_NOT_ALLOWED,
                f"Not allowed ({where}).",
                headers={"Allow": ", ".join(sorted(error.allowed_methods))},
            )
    message = f"Invalid URL ({where})"
    if _is_known(request.app.router, f"/v1{request.rel_url.raw_path}"):
        # A base URL without it is the usual mistake.
        message += f": did you mean {f'/v1{request.path}'[:256]}?"
    return Refusal(error_pb2.ERROR_REASON_UNKNOWN_URL, message)


def _is_known(router: web.UrlDispatcher, path: str) -> bool:
    infos = (resource.get_info() for resource in router.resources())
    return any(
        info["pattern"].fullmatch(path) if "pattern" in info else info.get("path") == path
        for info in infos
    )


async def _name_request(request: web.Request, response: web.StreamResponse) -> None:
    """For all but a JsonResponse, which does it by itself."""
    response.headers.setdefault("x-request-id", REQUEST_ID.get())
    # Instead of the versions of everything that could be attacked.
    response.headers["Server"] = "diglot"
