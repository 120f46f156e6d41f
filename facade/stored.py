"""The requests about stored completions: each is one call of the channel."""

from __future__ import annotations

import re

from aiohttp import web

from diglot.v1 import chat_pb2, error_pb2

from . import stored_to_json, to_json
from .auth import Auth
from .body import defer_continue, read_body
from .channel import Channel
from .errors import Refusal
from .options import FacadeOptions
from .parse import parse_update
from .response import JsonResponse, json_response
from .timeout import timeout_of

_ORDERS = {"asc": chat_pb2.LIST_ORDER_ASCENDING, "desc": chat_pb2.LIST_ORDER_DESCENDING}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_METADATA = re.compile(r"metadata(?:\[(.*)\])?", re.DOTALL)


class StoredRoutes:
    """The handlers. What the values mean is the core's business."""

    def __init__(self, channel: Channel, auth: Auth, options: FacadeOptions) -> None:
        self._channel = channel
        self._auth = auth
        self._timeout = options.timeout
        self._max_body = options.max_body
        self._body_timeout = options.body_timeout

    def add_to(self, router: web.UrlDispatcher) -> None:
        one = "/v1/chat/completions/{completion_id}"
        router.add_get("/v1/chat/completions", self.list)
        router.add_get(one, self.get)
        router.add_post(one, self.update, expect_handler=defer_continue)
        router.add_delete(one, self.delete)
        router.add_get(f"{one}/messages", self.messages)

    async def list(self, request: web.Request) -> JsonResponse:
        asked = chat_pb2.ListChatCompletionsRequest(
            after=request.query.get("after"),
            limit=_limit(request),
            order=_order(request),
            model=request.query.get("model"),
            metadata=_metadata(request),
        )
        answer = await self._channel.ListChatCompletions(
            asked, timeout=timeout_of(request, self._timeout), metadata=self._auth.metadata()
        )
        return json_response(stored_to_json.completions(answer))

    async def get(self, request: web.Request) -> JsonResponse:
        answer = await self._channel.GetChatCompletion(
            chat_pb2.GetChatCompletionRequest(id=request.match_info["completion_id"]),
            timeout=timeout_of(request, self._timeout),
            metadata=self._auth.metadata(),
        )
        return json_response(to_json.completion(answer))

    async def update(self, request: web.Request) -> JsonResponse:
        body = await read_body(request, self._max_body, self._body_timeout, self._auth.check)
        asked = chat_pb2.UpdateChatCompletionRequest(
            id=request.match_info["completion_id"], metadata=parse_update(body).metadata
        )
        answer = await self._channel.UpdateChatCompletion(
            asked, timeout=timeout_of(request, self._timeout), metadata=self._auth.metadata()
        )
        return json_response(to_json.completion(answer))

    async def delete(self, request: web.Request) -> JsonResponse:
        answer = await self._channel.DeleteChatCompletion(
            chat_pb2.DeleteChatCompletionRequest(id=request.match_info["completion_id"]),
            timeout=timeout_of(request, self._timeout),
            metadata=self._auth.metadata(),
        )
        return json_response(stored_to_json.deletion(answer))

    async def messages(self, request: web.Request) -> JsonResponse:
        asked = chat_pb2.ListChatCompletionMessagesRequest(
            id=request.match_info["completion_id"],
            after=request.query.get("after"),
            limit=_limit(request),
            order=_order(request),
        )
        answer = await self._channel.ListChatCompletionMessages(
            asked, timeout=timeout_of(request, self._timeout), metadata=self._auth.metadata()
        )
        return json_response(stored_to_json.messages(answer))


def _limit(request: web.Request) -> int | None:
    text = request.query.get("limit")
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_TYPE,
            "Invalid type for 'limit': expected an integer.",
            "limit",
        )
    if len(text) > 9:  # the contract could not hold it, and the core not quote it
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_VALUE,
            f"Invalid value for 'limit': {text[:20]}{'…' * (len(text) > 20)} is out of range.",
            "limit",
        )
    return int(text)


def _order(request: web.Request) -> chat_pb2.ListOrder.ValueType:
    text = request.query.get("order", "asc")
    if text not in _ORDERS:
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_VALUE,
            f"Invalid value: '{text[:64]}'. Supported values are: 'asc' and 'desc'.",
            "order",
        )
    return _ORDERS[text]


def _metadata(request: web.Request) -> dict[str, str]:
    """`metadata[key]=value`, as OpenAI's SDKs write it."""
    found = {}
    for name, value in request.query.items():
        pair = _METADATA.fullmatch(name)
        if pair is None:
            continue
        if pair[1] is None:  # ignored, it would look like a filter that all pass
            raise Refusal(
                error_pb2.ERROR_REASON_INVALID_TYPE,
                "Invalid type for 'metadata': expected pairs, as metadata[key]=value.",
                "metadata",
            )
        found[pair[1]] = value
    return found
