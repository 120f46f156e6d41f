"""A service to stand behind the façade: a real gRPC server, whose answers a test writes."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from aiohttp import ClientSession
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from diglot.facade import FacadeOptions, HttpServer, RemoteChannel, build_app
from diglot.facade.errors import MAPPINGS
from diglot.v1 import (
    chat_pb2_grpc,
    chunk_pb2,
    completion_pb2,
    error_pb2,
    message_pb2,
    model_pb2_grpc,
)
from diglot.v1 import model_pb2 as models

KEY = "sk-test"
HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def completion(**fields: Any) -> completion_pb2.ChatCompletion:
    answer = completion_pb2.ChatCompletion(id="chatcmpl-1", created=1700000000, model="m", **fields)
    answer.usage.prompt_tokens, answer.usage.completion_tokens = 3, 2
    answer.usage.total_tokens = 5
    choice = answer.choices.add(finish_reason=completion_pb2.FINISH_REASON_STOP)
    choice.message.role = message_pb2.ROLE_ASSISTANT
    choice.message.content = "hi"
    return answer


def chunk(content: str | None = None, **delta: Any) -> chunk_pb2.ChatCompletionChunk:
    piece = chunk_pb2.ChatCompletionChunk(id="chatcmpl-1", created=1700000000, model="m")
    piece.choices.add(delta=chunk_pb2.Delta(content=content, **delta))
    return piece


def first(content: str = "") -> chunk_pb2.ChatCompletionChunk:
    return chunk(content, role=message_pb2.ROLE_ASSISTANT)


def last(
    reason: completion_pb2.FinishReason.ValueType = completion_pb2.FINISH_REASON_STOP,
) -> chunk_pb2.ChatCompletionChunk:
    piece = chunk()
    piece.choices[0].finish_reason = reason
    return piece


def status(
    reason: str,
    message: str,
    *,
    code: str | None = None,
    field: str | None = None,
    retry: float | None = None,
    metadata: dict[str, str] | None = None,
    domain: str = "diglot",
) -> grpc.Status:
    """A status as the service makes it."""
    if code is None:
        code = MAPPINGS[error_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")].grpc_code
    info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {})
    details: list[Any] = [info]
    if field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = [any_pb2.Any() for _ in details]
    for box, detail in zip(packed, details, strict=True):
        box.Pack(detail)
    number = grpc.StatusCode[code].value[0]
    made: grpc.Status = rpc_status.to_status(
        status_pb2.Status(code=number, message=message, details=packed)
    )
    return made


def rpc_error(code: str, text: str = "", answer: grpc.Status | None = None) -> grpc.aio.AioRpcError:
    """What a channel raises."""
    trailing = answer.trailing_metadata if answer else ()
    return grpc.aio.AioRpcError(
        grpc.StatusCode[code],
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(*trailing),
        details=answer.details if answer else text,
    )


class FakeService(chat_pb2_grpc.ChatServiceServicer, model_pb2_grpc.ModelServiceServicer):
    """Checks keys like the real one. What it answers is set from outside; all calls are kept."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.calls: list[str] = []
        self.stored: dict[str, Any] = {}
        self.health = health.aio.HealthServicer()
        self.create: Callable[..., Any] = self._create
        self.stream: Callable[..., Any] = self._stream
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def _create(self, request: Any, context: Any) -> completion_pb2.ChatCompletion:
        return completion()

    async def _stream(self, request: Any, context: Any) -> None:
        for piece in (first(), chunk("h"), chunk("i"), last()):
            await context.write(piece)

    async def hang(self, request: Any, context: Any) -> None:
        """An answer that never comes, but notices when nobody waits for it any more."""
        self.called.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def _enter(self, name: str, request: Any, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self.calls.append(name)
        self.metadata.append(metadata)
        self.requests.append(request)
        if metadata.get("authorization") != f"Bearer {KEY}":
            await context.abort_with_status(
                status("INVALID_API_KEY", "Incorrect API key provided.")
            )

    async def CreateChatCompletion(self, request: Any, context: Any) -> Any:
        await self._enter("CreateChatCompletion", request, context)
        return await self.create(request, context)

    async def GetChatCompletion(self, request: Any, context: Any) -> Any:
        return await self._answer("GetChatCompletion", request, context)

    async def ListChatCompletions(self, request: Any, context: Any) -> Any:
        return await self._answer("ListChatCompletions", request, context)

    async def UpdateChatCompletion(self, request: Any, context: Any) -> Any:
        return await self._answer("UpdateChatCompletion", request, context)

    async def DeleteChatCompletion(self, request: Any, context: Any) -> Any:
        return await self._answer("DeleteChatCompletion", request, context)

    async def ListChatCompletionMessages(self, request: Any, context: Any) -> Any:
        return await self._answer("ListChatCompletionMessages", request, context)

    async def _answer(self, name: str, request: Any, context: Any) -> Any:
        """What the test has put into `stored`; an error by default, as nothing is."""
        await self._enter(name, request, context)
        if name not in self.stored:
            await context.abort_with_status(status("NOT_FOUND", "There is nothing.", field="id"))
        return self.stored[name]

    async def StreamChatCompletion(  # type: ignore[override]  # typed as a generator
        self, request: Any, context: Any
    ) -> Any:
        await self._enter("StreamChatCompletion", request, context)
        await self.stream(request, context)

    async def ListModels(self, request: Any, context: Any) -> Any:
        await self._enter("ListModels", request, context)
        return models.ListModelsResponse(
            models=[models.Model(id="m", created=1700000000, owned_by="diglot")]
        )

    async def GetModel(self, request: Any, context: Any) -> Any:
        await self._enter("GetModel", request, context)
        if request.id.startswith("no"):
            text = f"The model '{request.id}' does not exist."
            await context.abort_with_status(status("MODEL_NOT_FOUND", text, field="model"))
        return models.Model(id=request.id, created=1700000000, owned_by="diglot")


@dataclass
class Facade:
    """A façade under test."""

    service: FakeService
    server: HttpServer
    http: ClientSession
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {KEY}"})

    @property
    def url(self) -> str:
        return f"http://{self.server.address}"

    async def ask(
        self, body: Any = None, path: str = "/v1/chat/completions", **options: Any
    ) -> tuple[int, Any, Any]:
        """Status, headers and JSON of a POST. Bytes are sent as they are."""
        if not isinstance(body, bytes):
            body = json.dumps(HELLO if body is None else body).encode()
        headers = {**self.headers, "Content-Type": "application/json", **options.pop("headers", {})}
        data = io.BytesIO(body)  # aiohttp warns of large bytes
        async with self.http.post(self.url + path, data=data, headers=headers, **options) as answer:
            return answer.status, answer.headers, json.loads(await answer.read())

    async def refusal(self, body: Any = None, **options: Any) -> dict[str, Any]:
        """The error object, after a look at its shape, with the status as a fifth key."""
        code, headers, answer = await self.ask(body, **options)
        error = answer["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert headers["x-request-id"]
        assert headers["x-should-retry"] in ("true", "false")
        return {"status": code, **error}

    async def get(self, path: str, method: str = "GET", **options: Any) -> tuple[int, Any, Any]:
        headers = options.pop("headers", self.headers)
        async with self.http.request(method, self.url + path, headers=headers, **options) as answer:
            body = await answer.read()
            return answer.status, answer.headers, json.loads(body) if body else None

    async def raw(self, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of its own, with bytes on it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.connections.append(writer)
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        return reader, writer

    async def events(self, body: dict[str, Any] | None = None, **fields: Any) -> bytes:
        """The bytes of a stream."""
        asked = {**(body or HELLO), "stream": True, **fields}
        async with self.http.post(
            f"{self.url}/v1/chat/completions", json=asked, headers=self.headers
        ) as answer:
            assert answer.status == 200, await answer.read()
            return await answer.read()


def post(body: bytes, *headers: str, key: str | None = KEY) -> bytes:
    """A request as it goes over the wire."""
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", *headers]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def serving(
    service: FakeService, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 * 2**20)])
    chat_pb2_grpc.add_ChatServiceServicer_to_server(service, server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(service.health, server)
    await service.health.set("", health_pb2.HealthCheckResponse.SERVING)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def facade(service: FakeService | None = None, **options: Any) -> AsyncIterator[Facade]:
    """Client, façade and service, with real sockets between them."""
    service = service or FakeService()
    async with serving(service) as target, over(RemoteChannel(target), **options) as running:
        running.service = service
        yield running


@asynccontextmanager
async def over(channel: Any, **options: Any) -> AsyncIterator[Facade]:
    """Client and façade, over a channel that is closed afterwards."""
    server = HttpServer(build_app(channel, FacadeOptions(**options)), "127.0.0.1", 0)
    await server.start()
    http = ClientSession()
    running = Facade(FakeService(), server, http)
    try:
        yield running
    finally:
        await http.close()
        for connection in running.connections:
            connection.close()
        await server.stop(0.1)
        await channel.close()
