"""Both faces over whatever a configuration says, in this process, on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
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
    _more: asyncio.Event = field(default_factory=asyncio.Event, compare=False, repr=False)

    def hears(self, text: str) -> None:
        self.text += text
        self._more.set()

    async def until(self, enough: Callable[[Seen], object]) -> None:
        """Returns once it has heard enough."""
        while not enough(self):
            self._more.clear()
            await self._more.wait()


@dataclass
class Faces:
    service: Service
    http: str
    grpc: str

    async def ask(
        self,
        face: str,
        content: str = "hi",
        *,
        stream: bool = True,
        seen: Seen | None = None,
        vendor: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **body: Any,
    ) -> Seen:
        """`body` are the request's other fields; those that both faces know. `vendor` are keys that
        neither knows, `headers` are metadata over gRPC. With `seen`, the caller can look while it
        grows. `timeout` is in seconds, and the call's deadline."""
        body = {"model": "m"} | body
        seen = seen or Seen()
        told = dict(headers or {})
        if face == HTTP:
            if timeout is not None:
                told["X-Request-Timeout"] = str(timeout)
            await self._over_http(content, stream, body | dict(vendor or {}), seen, told)
        else:
            if vendor is not None:
                body["extra_json"] = json.dumps(vendor)
            await self._over_grpc(content, stream, body, seen, told, timeout)
        return seen

    async def _over_http(
        self,
        content: str,
        stream: bool,
        body: dict[str, Any],
        seen: Seen,
        headers: dict[str, str],
    ) -> None:
        messages = [{"role": "user", "content": content}]
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self.http}/chat/completions",
                json={"messages": messages, "stream": stream} | body,
                headers=headers,
            ) as response,
        ):
            seen.status = response.status
            if response.status != 200:
                _failed(seen, (await response.json())["error"])
                if "Retry-After" in response.headers:
                    seen.retry_after = float(response.headers["Retry-After"])
                return
            if not stream:
                answer = await response.json()
                seen.text = answer["choices"][0]["message"]["content"]
                seen.model = answer["model"]
                seen.ended = True
                return
            async for line in response.content:
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        _failed(seen, event["error"])
                        continue
                    seen.model = event["model"]
                    for choice in event["choices"]:
                        seen.hears(choice["delta"].get("content") or "")
                seen.ended |= line.startswith(b"data: [DONE]")

    async def _over_grpc(
        self,
        content: str,
        stream: bool,
        body: dict[str, Any],
        seen: Seen,
        metadata: dict[str, str],
        timeout: float | None,
    ) -> None:
        seen.status = "OK"
        told: Any = {"metadata": tuple(metadata.items()), "timeout": timeout}
        async with grpc.aio.insecure_channel(self.grpc) as channel:
            stub = ChatServiceStub(channel)
            try:
                if stream:
                    async for chunk in stub.StreamChatCompletion(ask(content, **body), **told):
                        seen.model = chunk.model
                        seen.hears("".join(choice.delta.content for choice in chunk.choices))
                else:
                    answer = await stub.CreateChatCompletion(ask(content, **body), **told)
                    seen.text = answer.choices[0].message.content
                    seen.model = answer.model
                seen.ended = True
            except grpc.aio.AioRpcError as error:
                seen.status = error.code().name
                seen.message = error.details() or ""
                status = None
                # The client's own deadline leaves the server's word behind, or half of it.
                with suppress(ValueError):
                    status = rpc_status.from_call(error)
                if status is None:
                    seen.error = error.code().name
                    return
                info = ErrorInfo()
                assert any(detail.Unpack(info) for detail in status.details)
                seen.error = info.reason
                retry = RetryInfo()
                if any(detail.Unpack(retry) for detail in status.details):
                    seen.retry_after = retry.retry_delay.ToTimedelta().total_seconds()


def _failed(seen: Seen, error: dict[str, Any]) -> None:
    seen.message = error["message"]
    seen.error = (error["code"] or "").upper()


@asynccontextmanager
async def faces(
    directory: Path,
    config: str,
    environ: Mapping[str, str] | None = None,
    *,
    with_keys: bool = False,
) -> AsyncIterator[Faces]:
    """Serves the configuration: its text without `state` and `auth`."""
    file = directory / "diglot.toml"
    auth = f"auth.enabled = {str(with_keys).lower()}"
    file.write_text(f'state = "{directory}"\n{auth}\nstore.enabled = false\n{config}')
    settings = load(file, environ=environ or {})
    service = Service(settings)
    async with AsyncExitStack() as running:
        running.push_async_callback(service.close)
        await service.start()
        port = await service.server.start("127.0.0.1:0")
        running.push_async_callback(service.server.stop, 0)
        channel = InProcessChannel(service.chat, service.models, service.authenticator)
        app = build_app(channel, FacadeOptions(require_key=with_keys), service.telemetry.http_watch)
        http = HttpServer(app, "127.0.0.1", 0)
        await http.start()
        running.push_async_callback(http.stop, 0)
        yield Faces(service, f"http://{http.address}/v1", f"127.0.0.1:{port}")
