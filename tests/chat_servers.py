"""Servers to chat with: real ones, over HTTP and gRPC, that act as the question says."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web

from diglot.v1 import (
    chat_pb2_grpc,
    chunk_pb2,
    completion_pb2,
    message_pb2,
    model_pb2,
    model_pb2_grpc,
)

ANSWER = ["Grüße, ", "Welt 🙂", "!"]


@dataclass
class Seen:
    """What a server was asked, and with which options `diglot chat` reaches it."""

    options: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: ["org/first", "second"])
    asked: list[list[tuple[str, str]]] = field(default_factory=list)
    asked_of: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client leaves an answer that does not end."""


@asynccontextmanager
async def http_server(tls: tuple[Path, Path] | None = None) -> AsyncIterator[Seen]:
    seen = Seen()

    async def models(request: web.Request) -> web.Response:
        seen.authorizations.append(request.headers.get("Authorization"))
        return web.json_response({"object": "list", "data": [{"id": id_} for id_ in seen.models]})

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        assert body["stream"] is True
        seen.authorizations.append(request.headers.get("Authorization"))
        seen.asked.append([(each["role"], each["content"]) for each in body["messages"]])
        seen.asked_of.append(body["model"])
        question = body["messages"][-1]["content"]
        if question == "refuse":
            error = {"message": "No\nsuch \x1b[31mmodel.", "type": "x", "param": None, "code": None}
            return web.json_response({"error": error}, status=404)
        if question == "whole":
            return web.json_response({"object": "chat.completion"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            await _http_answer(response, question)
        except asyncio.CancelledError:
            seen.gone.set()
            raise
        return response

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    seen.options = ["--http", f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"]
    try:
        yield seen
    finally:
        await runner.cleanup()


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": choices}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


async def _http_answer(response: web.StreamResponse, question: str) -> None:
    await response.write(b":\n\n" + _event({"role": "assistant", "content": ""}))
    if question == "think":
        await response.write(_event({"reasoning_content": "Hm. "}))
    if question == "escape":
        await response.write(_event({"content": "a\x1b[2Jb"}))
    if question == "garbage":
        await response.write(b"data: }\n\n")
    if question == "fail":
        await response.write(_event({"content": "Half"}))
        await response.write(b'data: {"error": {"message": "It broke."}}\n\n')
        return
    if question in ("forever", "cut"):
        await response.write(_event({"content": "Half"}))
        if question == "forever":
            await asyncio.get_running_loop().create_future()
        return
    # Byte by byte: pieces end where they like, also within a character.
    for text in ANSWER:
        for byte in _event({"content": text}):
            await response.write(bytes([byte]))
    await response.write(_event({}, "length" if question == "long" else "stop"))
    await response.write(b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n')
    await response.write(b"data: [DONE]\n\n")


class _Servicer(chat_pb2_grpc.ChatServiceServicer, model_pb2_grpc.ModelServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def ListModels(self, request: Any, context: Any) -> model_pb2.ListModelsResponse:
        self._authorize(context)
        models = [model_pb2.Model(id=each) for each in self._seen.models]
        return model_pb2.ListModelsResponse(models=models)

    async def StreamChatCompletion(  # type: ignore[override]  # typed as a generator
        self, request: Any, context: Any
    ) -> None:
        self._authorize(context)
        roles = message_pb2.Role
        self._seen.asked.append(
            [
                (roles.Name(each.role).removeprefix("ROLE_").lower(), each.content)
                for each in request.messages
            ]
        )
        self._seen.asked_of.append(request.model)
        question = request.messages[-1].content
        if question == "refuse":
            await context.abort(grpc.StatusCode.NOT_FOUND, "No\nsuch \x1b[31mmodel.")
        await context.write(_chunk(role=message_pb2.ROLE_ASSISTANT))
        if question == "think":
            await context.write(_chunk(reasoning_content="Hm. "))
        if question == "escape":
            await context.write(_chunk(content="a\x1b[2Jb"))
        if question == "fail":
            await context.write(_chunk(content="Half"))
            await context.abort(grpc.StatusCode.INTERNAL, "It broke.")
        if question == "forever":
            await context.write(_chunk(content="Half"))
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._seen.gone.set()
        for text in ANSWER:
            await context.write(_chunk(content=text))
        last = _chunk()
        finish = "FINISH_REASON_LENGTH" if question == "long" else "FINISH_REASON_STOP"
        last.choices[0].finish_reason = completion_pb2.FinishReason.Value(finish)
        await context.write(last)

    def _authorize(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self._seen.authorizations.append(metadata.get("authorization"))


def _chunk(**delta: Any) -> chunk_pb2.ChatCompletionChunk:
    chunk = chunk_pb2.ChatCompletionChunk(id="c")
    chunk.choices.add(delta=chunk_pb2.Delta(**delta))
    return chunk


@asynccontextmanager
async def grpc_server(tls: tuple[Path, Path] | None = None) -> AsyncIterator[Seen]:
    seen = Seen()
    server = grpc.aio.server()
    servicer = _Servicer(seen)  # type: ignore[abstract]  # what the chat calls
    chat_pb2_grpc.add_ChatServiceServicer_to_server(servicer, server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        certificate, key = (file.read_bytes() for file in tls)
        # The client must show the same certificate: the mTLS that a test needs.
        credentials = grpc.ssl_server_credentials([(key, certificate)], certificate, True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    seen.options = ["--grpc", f"127.0.0.1:{port}"]
    try:
        yield seen
    finally:
        await server.stop(0)
