"""A server that speaks Anthropic's Messages API, on a real socket.

Kept honest by Anthropic's own SDK: what is asked must be of its types of a request, what is
answered of its models of events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from anthropic.types import RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from anthropic.types.shared import ErrorResponse
from multidict import CIMultiDict
from pydantic import TypeAdapter, ValidationError

from diglot.service.anthropic import AnthropicEngine, MessagesEndpoint, Options

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_REQUEST: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)
_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

MODEL = "claude-test"


def known(body: Json) -> bool:
    """Whether the SDK's types have all of a request: what they do not know they leave out."""
    try:
        return bool(json.loads(_REQUEST.dump_json(_REQUEST.validate_python(body))) == body)
    except ValidationError:
        return False


def sse(*events: Json) -> bytes:
    """The events as they stand on the wire."""
    lines = []
    for event in events:
        if event["type"] == "error":
            ErrorResponse.model_validate(event)
        elif event["type"] != "ping":
            _EVENT.validate_python(event)
        lines.append(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n")
    return "".join(lines).encode()


PING: Json = {"type": "ping"}
STOP: Json = {"type": "message_stop"}


def start(**usage: Any) -> Json:
    message: Json = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 1} | usage,
    }
    return {"type": "message_start", "message": message}


def block(index: int, content: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[Json]:
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return block(index, {"type": "text", "text": ""}, *deltas)


def thinking(index: int, *pieces: str) -> list[Json]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    signed = {"type": "signature_delta", "signature": "EqQBCgIYAhIM"}
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, signed)


def tool_use(index: int, call_id: str, name: str, *pieces: str) -> list[Json]:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, {"type": "tool_use", "id": call_id, "name": name, "input": {}}, *deltas)


def stopped(reason: str, **usage: Any) -> list[Json]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    usage = {"output_tokens": 15} | usage
    return [{"type": "message_delta", "delta": delta, "usage": usage}, STOP]


def error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_01"}


HELLO = sse(start(), PING, *text(0, "Hel", "lo"), *stopped("end_turn"))


def answering(
    body: bytes = HELLO, status: int = 200, content_type: str = "text/event-stream", **headers: str
) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        headers["Content-Type"] = content_type
        return web.Response(body=body, status=status, headers=headers)

    return handler


class MessagesServer:
    """What reached it. Answers whatever `handler` does, once the request has been understood."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.bodies: list[Json] = []
        self.headers: list[CIMultiDict[str]] = []
        self.base_url = ""

    async def messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.headers.get("anthropic-version") != "2023-06-01" or not known(body):
            refusal = error("invalid_request_error", "no request of the Messages API")
            return web.json_response(refusal, status=400)
        self.bodies.append(body)
        self.headers.append(request.headers.copy())
        return await self.handler(request)


@asynccontextmanager
async def messages_server(handler: Handler | None = None) -> AsyncIterator[MessagesServer]:
    server = MessagesServer(handler or answering())
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/messages", server.messages)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def anthropic_engine(
    server: MessagesServer, key: str | None = "sesame", options: Options | None = None
) -> AsyncIterator[AnthropicEngine]:
    engine = AnthropicEngine(MessagesEndpoint(server.base_url, key), MODEL, options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
