"""Both faces over whatever a configuration says, in this process, on real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from serving import ask

from diglot.facade import FacadeOptions, HttpServer, build_app
from diglot.service.command.assembly import Service
from diglot.service.config import load
from diglot.service.inprocess import InProcessChannel
from diglot.v1.chat_pb2_grpc import ChatServiceStub

HTTP, GRPC = "http", "grpc"


@dataclass
class Seen:
    """What a caller came to see of a completion."""

    text: str = ""
    model: str = ""
    error: str | None = None
    """The error's reason, as both faces have it: UPSTREAM_UNAVAILABLE."""
    status: int | str = 200
    """The HTTP status, or the gRPC code's name."""
    message: str = ""
    retry_after: float | None = None
    ended: bool = False
    """Whether it was told that the answer is whole."""


@dataclass
class Faces:
    service: Service
    http: str
    grpc: str

    async def ask(
        self, face: str, content: str = "hi", *, stream: bool = True, **body: Any
    ) -> Seen:
        """`body` are the request's other fields; those that both faces know."""
        body = {"model": "m"} | body
        if face == HTTP:
            return await self._over_http(content, stream, body)
        return await self._over_grpc(content, stream, body)

    async def _over_http(self, content: str, stream: bool, body: dict[str, Any]) -> Seen:
        seen = Seen()
        messages = [{"role": "user", "content": content}]
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self.http}/chat/completions",
                json={"messages": messages, "stream": stream} | body,
            ) as response,
        ):
            seen.status = response.status
            if response.status != 200:
                _failed(seen, (await response.json())["error"])
                if "Retry-After" in response.headers:
                    seen.retry_after = float(response.headers["Retry-After"])
                return seen
            if not stream:
                answer = await response.json()
                seen.text = answer["choices"][0]["message"]["content"]
                seen.model = answer["model"]
                seen.ended = True
                return seen
            async for line in response.content:
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        _failed(seen, event["error"])
                        continue
                    seen.model = event["model"]
                    for choice in event["choices"]:
                        seen.text += choice["delta"].get("content") or ""
                seen.ended |= line.startswith(b"data: [DONE]")
        return seen

    async def _over_grpc(self, content: str, stream: bool, body: dict[str, Any]) -> Seen:
        seen = Seen(status="OK")
        async with grpc.aio.insecure_channel(self.grpc) as channel:
            stub = ChatServiceStub(channel)
            try:
                if stream:
                    async for chunk in stub.StreamChatCompletion(ask(content, **body)):
                        seen.model = chunk.model
                        seen.text += "".join(choice.delta.content for choice in chunk.choices)
                else:
                    answer = await stub.CreateChatCompletion(ask(content, **body))
                    seen.text = answer.choices[0].message.content
                    seen.model = answer.model
                seen.ended = True
            except grpc.aio.AioRpcError as error:
                seen.status = error.code().name
                seen.message = error.details() or ""
                status = rpc_status.from_call(error)
                info = ErrorInfo()
                assert status is not None
                assert any(detail.Unpack(info) for detail in status.details)
                seen.error = info.reason
        return seen


def _failed(seen: Seen, error: dict[str, Any]) -> None:
    seen.message = error["message"]
    seen.error = (error["code"] or "").upper()


@asynccontextmanager
async def faces(
    directory: Path, config: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Faces]:
    """Serves the configuration: its text without `state` and `auth`."""
    file = directory / "diglot.toml"
    file.write_text(f'state = "{directory}"\nauth.enabled = false\nstore.enabled = false\n{config}')
    settings = load(file, environ=environ or {})
    service = Service(settings)
    async with AsyncExitStack() as running:
        running.push_async_callback(service.close)
        await service.start()
        port = await service.server.start("127.0.0.1:0")
        running.push_async_callback(service.server.stop, 0)
        channel = InProcessChannel(service.chat, service.models, service.authenticator)
        http = HttpServer(build_app(channel, FacadeOptions(require_key=False)), "127.0.0.1", 0)
        await http.start()
        running.push_async_callback(http.stop, 0)
        yield Faces(service, f"http://{http.address}/v1", f"127.0.0.1:{port}")
