"""The façade as an aiohttp application."""

from __future__ import annotations

import asyncio
import logging

import grpc.aio
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from diglot.v1 import error_pb2
from diglot.v1.error_pb2 import ErrorReason

from .auth import Auth
from .channel import Channel
from .docs_routes import add_docs
from .errors import ApiError, Refusal, from_refusal, from_rpc_error, internal_error
from .options import OPTIONS, FacadeOptions
from .request_id import REQUEST_ID, request_id
from .routes import PUBLIC_PATHS, Routes
from .sse import is_gone
from .stored import StoredRoutes
from .watch import TRACE, Watch, trace_of

_log = logging.getLogger(__name__)
_calls = logging.getLogger("diglot.http")


def build_app(
    channel: Channel, options: FacadeOptions | None = None, watch: Watch | None = None
) -> web.Application:
    """The application; who builds it keeps the channel, and closes it afterwards. `watch` is shown
    every request.

    Serve it with HttpServer: cancelling calls whose client has gone depends on how.
    """
    options = options or FacadeOptions()
    auth = Auth(channel, options.require_key)
    app = web.Application(middlewares=[_answer_errors(auth, watch)])
    app[OPTIONS] = options
    app.on_response_prepare.append(_name_request)
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


def _answer_errors(auth: Auth, watch: Watch | None) -> Middleware:
    """The one place where exceptions become answers."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        REQUEST_ID.set(request_id(request.headers.get("x-request-id")))
        trace = trace_of(request.headers)
        if watch is None:
            TRACE.set(trace)
            return await answered(request, handler)
        look = watch.begin(request.method, _route(request), trace)
        TRACE.set(look.trace)
        status = None
        try:
            response = await answered(request, handler)
            status = response.status
            return response
        finally:
            look.end(status, REQUEST_ID.get())

    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        protected = request.path not in PUBLIC_PATHS
        try:
            if protected:
                auth.require_bearer(request)
            try:
                return await handler(request)
            except (Refusal, web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
                # Our own knowledge, too, is for callers with a key.
                if protected:
                    await auth.check(request)
                raise _as_refusal(error, request) from None
        except (Exception, asyncio.CancelledError) as error:
            if is_gone(request) and isinstance(error, ConnectionError | asyncio.CancelledError):
                raise asyncio.CancelledError from None
            # A cancellation with the client still there means that the server stops.
            told = to_api_error(error)
            if protected and isinstance(error, Refusal):
                _log_refusal(request, error, told)
            answer = _response(told)
            if request.writer.output_size > 0:
                # Too late for another answer. aiohttp closes the connection: the client sees
                # that the one it has is not whole.
                raise asyncio.CancelledError from None
            return answer

    return middleware


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _log_refusal(request: web.Request, refusal: Refusal, told: ApiError) -> None:
    """The line of a request that never reached the service, which logs all others. Anybody can
    cause it: it is short, and has nothing of what was sent but where."""
    _calls.info(
        "refused",
        extra={
            "request_id": REQUEST_ID.get(),
            "method": request.method[:16],
            "path": request.rel_url.raw_path[:100],
            "outcome": ErrorReason.Name(refusal.reason).removeprefix("ERROR_REASON_").lower(),
            "status": told.status,
        },
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
    return Refusal(error_pb2.ERROR_REASON_UNKNOWN_URL, f"Invalid URL ({where})")


def _response(error: ApiError) -> web.Response:
    return web.Response(
        status=error.status,
        headers=error.headers,
        body=error.body,
        content_type="application/json",
    )


async def _name_request(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("x-request-id", REQUEST_ID.get())
    # Instead of the versions of everything that could be attacked.
    response.headers["Server"] = "diglot"
