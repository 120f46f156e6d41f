"""The requests that the façade answers, each by one call of the channel."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import grpc.aio
from aiohttp import web
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from diglot.v1 import error_pb2
from diglot.v1.model_pb2 import GetModelRequest, ListModelsRequest

from . import to_json
from .auth import Auth
from .body import defer_continue, read_body
from .channel import Channel
from .chunk_to_json import ChunkEncoder
from .errors import ApiError, Refusal
from .options import FacadeOptions
from .parse import parse
from .response import JsonResponse, json_response
from .server import STOPPING
from .sse import stream_events
from .timeout import timeout_of
from .to_contract import to_contract

# What they say is the same for everyone, or for balancers, which have no keys.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})


class Routes:
    """The handlers."""

    def __init__(
        self,
        channel: Channel,
        auth: Auth,
        options: FacadeOptions,
        to_api_error: Callable[[BaseException], ApiError],
    ) -> None:
        self._channel = channel
        self._auth = auth
        self._options = options
        self._to_api_error = to_api_error

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/chat/completions", self.create, expect_handler=defer_continue)
        router.add_get("/v1/models", self.list_models)
        # The id may hold slashes, as they are or percent-encoded.
        router.add_get("/v1/models/{id:.+}", self.get_model)
        router.add_get("/healthz", self.healthz)
        router.add_get("/readyz", self.readyz)

    async def create(self, request: web.Request) -> web.StreamResponse:
        options = self._options
        timeout = timeout_of(request, options.timeout)
        body = await read_body(request, options.max_body, options.body_timeout, self._auth.check)
        asked = parse(body)
        message = to_contract(asked)
        metadata = self._auth.metadata()
        if not asked.stream:
            answer = await self._channel.CreateChatCompletion(
                message, timeout=timeout, metadata=metadata
            )
            return json_response(to_json.completion(answer))
        call = self._channel.StreamChatCompletion(message, timeout=timeout, metadata=metadata)
        encode = ChunkEncoder(message.stream_options.include_usage)
        return await stream_events(request, call, encode, options.keepalive, self._to_api_error)

    async def list_models(self, request: web.Request) -> JsonResponse:
        answer = await self._channel.ListModels(
            ListModelsRequest(),
            timeout=timeout_of(request, self._options.timeout),
            metadata=self._auth.metadata(),
        )
        return json_response(to_json.models(answer))

    async def get_model(self, request: web.Request) -> JsonResponse:
        answer = await self._channel.GetModel(
            GetModelRequest(id=request.match_info["id"]),
            timeout=timeout_of(request, self._options.timeout),
            metadata=self._auth.metadata(),
        )
        return json_response(to_json.model(answer))

    async def healthz(self, request: web.Request) -> JsonResponse:
        """Whether this process lives. It does."""
        return json_response({"status": "ok"})

    async def readyz(self, request: web.Request) -> JsonResponse:
        """Whether a completion would be answered now."""
        if request.app[STOPPING].is_set():
            raise _not_ready("it stops")
        try:
            answer = await self._channel.Check(
                HealthCheckRequest(), timeout=self._options.readiness_timeout, metadata=()
            )
        except grpc.aio.AioRpcError as error:
            raise _not_ready(_REASONS.get(error.code(), "its health is unknown")) from None
        if answer.status != HealthCheckResponse.SERVING:
            raise _not_ready(f"it says {HealthCheckResponse.ServingStatus.Name(answer.status)}")
        return json_response({"status": "ready"})


_REASONS = {
    grpc.StatusCode.UNAVAILABLE: "it cannot be reached, or says that it is not serving",
    grpc.StatusCode.DEADLINE_EXCEEDED: "it does not answer",
}


def _not_ready(reason: str) -> Refusal:
    return Refusal(error_pb2.ERROR_REASON_NOT_READY, f"The service is not ready: {reason}.")
