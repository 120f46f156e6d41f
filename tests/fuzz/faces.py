"""What strangers send to either face: bodies, requests that are hardly HTTP, messages."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from conformance.refusals import REFUSED
from conformance.scenarios import SCENARIOS
from conformance.shapes import shapes
from conformance.ways import to_request
from faulty_upstream import head
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from diglot.burst import Burst
from diglot.facade import FacadeOptions, HttpServer, build_app
from diglot.service.anthropic import Options
from diglot.service.anthropic.request_json import to_json as to_anthropic
from diglot.service.anthropic.unsupported import check as check_anthropic
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.embedded.answer_form import AnswerForm, grammar_of
from diglot.service.embedded.grammar.limits import Limits
from diglot.service.embedded.llama import to_llama
from diglot.service.embedded.sampling import Sampling
from diglot.service.entrance import NoKeys
from diglot.service.errors import ChatError
from diglot.service.inprocess import InProcessChannel
from diglot.service.models import Models, ServedModel
from diglot.service.scripted import ScriptedEngine
from diglot.service.server import GrpcServer
from diglot.service.store import CompletionStore, read_url
from diglot.service.upstream import Endpoint, UpstreamEngine
from diglot.service.upstream.request_json import to_json as to_openai
from diglot.v1 import chat_pb2, model_pb2
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.model_pb2 import Model

from .target import Fault, OpenTarget, Target

_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3}) ", re.MULTILINE)
_ANSWER_SECONDS = 10.0
# How long a server may wait for the rest of a request, before it is told that none comes.
_PATIENCE = 0.05

_LLAMA = Limits(string=200, items=10)
_SAMPLING = Sampling(temperature=1, top_p=1, repeat_penalty=1.1, max_tokens=None)


class TranslatingEngine(ScriptedEngine):
    """Puts each request in the words of every engine, and then answers as if it had been asked."""

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        for translate in TRANSLATIONS:
            with suppress(ChatError):
                json.dumps(translate(request)).encode()
        told = CreateChatCompletionRequest()
        told.CopyFrom(request)
        told.ClearField("extra_json")  # a script could ask for failures, or for days
        async for burst in super().stream(told, call):
            yield burst


def _openai(request: CreateChatCompletionRequest) -> Any:
    return to_openai(request)


def _anthropic(request: CreateChatCompletionRequest) -> Any:
    check_anthropic(request)
    return to_anthropic(request, "m", Options())


def _llama(request: CreateChatCompletionRequest) -> Any:
    form = AnswerForm.of(request)
    return to_llama(request, form, grammar_of(form, _LLAMA), _SAMPLING)


TRANSLATIONS = (_openai, _anthropic, _llama)


@dataclass
class Service:
    """Both faces over one core."""

    http: str
    """HOST:PORT"""
    grpc: str
    session: aiohttp.ClientSession

    async def post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        url = f"http://{self.http}/v1/chat/completions"
        async with self.session.post(url, data=body, headers=headers) as response:
            return response.status, await response.read()

    async def check(self) -> None:
        """It still serves."""
        status, _ = await self.post(GOOD)
        if status != 200:
            raise Fault(f"a good request is answered with {status}")


GOOD = b'{"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}'


@asynccontextmanager
async def serving(*more: ServedModel) -> AsyncIterator[Service]:
    async with AsyncExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="diglot-fuzz-")))
        models = Models([ServedModel(Model(id="scripted"), TranslatingEngine()), *more])
        running.push_async_callback(models.close)
        await models.start()
        store = CompletionStore(read_url("sqlite:///completions.db", directory))
        running.push_async_callback(store.close)
        store.start()
        await store.opened()
        chat = ChatService(models, store)
        server = GrpcServer(chat, models, NoKeys())
        running.push_async_callback(server.stop, 0)
        port = await server.start("127.0.0.1:0")
        near = InProcessChannel(chat, models, NoKeys())
        http = HttpServer(build_app(near, FacadeOptions(require_key=False)), "127.0.0.1", 0)
        await http.start()
        running.push_async_callback(http.stop, 0)
        session = await running.enter_async_context(aiohttp.ClientSession())
        yield Service(http.address, f"127.0.0.1:{port}", session)


def bodies() -> list[bytes]:
    """Good requests, and such as are refused, of the scenario tables."""
    asked = [scenario.body for scenario in SCENARIOS]
    asked += [refused.body for refused in REFUSED if isinstance(refused.request, dict)]
    asked += [{**body, "stream": True} for body in asked[::3]]
    asked += [{**body, "store": True, "metadata": {"a": "b"}} for body in asked[1::7]]
    return [json.dumps(body, ensure_ascii=False).encode() for body in asked]


class BodyTarget:
    """The body of a chat completion."""

    def __init__(self, service: Service) -> None:
        self.seeds: Sequence[bytes] = bodies()
        self._service = service

    async def take(self, data: bytes) -> None:
        status, answer = await self._service.post(data)
        check_answer(status, answer)


def check_answer(status: int, answer: bytes) -> None:
    """What failed is OpenAI's error object, and none of it the server's fault."""
    if status == 200:
        # The scripted model says what it was told, whatever form was asked for.
        if answer.startswith(b"data: ") and b'data: {"error"' in answer:
            _check_error(json.loads(answer[answer.index(b'{"error"') :].partition(b"\n")[0]))
        return
    error = json.loads(answer)
    if status >= 500:
        _check_error(error)
    if set(error["error"]) != {"message", "type", "param", "code"}:
        raise Fault(f"an error of another form: {error}")


def _check_error(error: Any) -> None:
    if error["error"]["code"] != "invalid_answer":
        raise Fault(f"its own fault: {error}")


class RawTarget:
    """All that is written on a connection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        paths = ("/v1/chat/completions", "/v1/chat/completions/chatcmpl-1?x=1")
        self.seeds = [
            f"POST {paths[0]} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
            for body in (GOOD, GOOD[:-1] + b', "stream": true}', b"{}")
        ]
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (GOOD[:9], GOOD[9:]))
        start = f"POST {paths[0]} HTTP/1.1\r\nHost: x\r\n".encode()
        self.seeds += [
            start + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n",
            start + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
            start + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
            self.seeds[0].replace(b"Connection: close\r\n", b"") * 3,
        ]
        self.seeds += [
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dg-1\r\n"
            "X-Request-ID: a-1\r\nConnection: close\r\n\r\n".encode()
            for method, path in (
                ("GET", "/v1/models"),
                ("GET", "/v1/models/a%2fb"),
                ("GET", f"{paths[0]}?limit=2&order=desc&metadata[a]=b"),
                ("DELETE", paths[1]),
                ("OPTIONS", paths[0]),
                ("GET", "/readyz"),
                ("GET", "/openapi.json"),
                ("GET", "/docs"),
            )
        ]

    async def take(self, data: bytes) -> None:
        answer = await self._written(data)
        for status in _STATUS.findall(answer):
            if status >= b"500" and b'"invalid_answer"' not in answer:
                raise Fault(f"answered with {answer[:300]!r}")
        await self._service.check()

    async def _written(self, data: bytes) -> bytes:
        host, _, port = self._service.http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        answer = b""
        try:
            writer.write(data)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    while piece := await reader.read(65536):
                        answer += piece
            writer.write_eof()
            async with asyncio.timeout(_ANSWER_SECONDS):
                while piece := await reader.read(65536):
                    answer += piece
        except ConnectionError:
            pass
        except TimeoutError:
            raise Fault("a connection whose client has gone stays open") from None
        finally:
            writer.close()
        return answer


_METHODS = [
    f"/{service.full_name}/{method.name}"
    for file in (chat_pb2, model_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


class MessageTarget:
    """The bytes of a gRPC message; the first one chooses the method."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        requests = [to_request(json.loads(body)) for body in bodies() if _is_good(body)]
        create, stream = (_METHODS.index(f"/diglot.v1.ChatService/{kind}ChatCompletion") for kind in
                          ("Create", "Stream"))  # fmt: skip
        self.seeds = [
            bytes([method]) + request.SerializeToString()
            for request in requests
            for method in (create, stream)
        ]
        listing = chat_pb2.ListChatCompletionsRequest(
            limit=2, metadata={"a": "b"}, order=chat_pb2.LIST_ORDER_DESCENDING
        )
        update = chat_pb2.UpdateChatCompletionRequest(id="chatcmpl-1", metadata={"a": "b"})
        self.seeds += [
            bytes([number]) + message.SerializeToString()
            for number in range(len(_METHODS))
            for message in (listing, update, model_pb2.GetModelRequest(id="scripted"))
        ]

    async def take(self, data: bytes) -> None:
        path = _METHODS[data[0] % len(_METHODS)] if data else _METHODS[0]
        method = self._channel.unary_stream if "Stream" in path else self._channel.unary_unary
        ask: Any = method(path)
        call = ask(data[1:], timeout=_ANSWER_SECONDS)
        try:
            if "Stream" in path:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            check_status(error)


def _is_good(body: bytes) -> bool:
    try:
        to_request(json.loads(body))
    except Exception:
        return False  # what the contract has no words for
    return True


def check_status(error: grpc.aio.AioRpcError) -> None:
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    if status is None or not any(detail.Unpack(info) for detail in status.details):
        raise Fault(f"{error.code().name} without a reason: {error.details()}")
    allowed = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    if error.code() not in allowed and info.reason != "INVALID_ANSWER":
        raise Fault(f"its own fault: {error.code().name} {info.reason}: {error.details()}")


class UpstreamTarget:
    """All that an upstream writes on its connection: it is told as the upstream's fault."""

    def __init__(self, service: Service, upstream: RawUpstream) -> None:
        start = head().replace(b"Connection: close\r\n", b"")
        self.seeds = [start + b"\r\n" * (not start) + shape.data for shape in shapes()[::3]]
        self.seeds += [
            head("429 Too Many Requests", "application/json", "Retry-After: 1\r\n")
            + b'{"error": {"message": "slow down", "type": "requests", "code": null}}',
            head("400 Bad Request", "application/json")
            + b'{"error": {"message": "no", "param": "messages", "code": 400, "n_ctx": 5}}',
            head("302 Found", extra="Location: http://127.0.0.1:1/\r\n"),
            head(extra="Content-Length: 5\r\n") + shapes()[0].data,
        ]
        self._service = service
        self._upstream = upstream

    async def take(self, data: bytes) -> None:
        self._upstream.data = data
        stream = json.dumps(len(data) % 2 == 0).encode()
        body = GOOD.replace(b'"scripted"', b'"upstream"')[:-1] + b', "stream": ' + stream + b"}"
        status, answer = await self._service.post(body)
        if status == 500 or b'"code":null,"type":"server_error"' in answer:
            raise Fault(f"its own fault: {answer[:500]!r}")


class RawUpstream:
    """Answers any request with `data`, and hangs up."""

    def __init__(self) -> None:
        self.data = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def http_body() -> AsyncIterator[Target]:
    async with serving() as service:
        yield BodyTarget(service)
        await service.check()


@asynccontextmanager
async def http_bytes() -> AsyncIterator[Target]:
    async with serving() as service:
        yield RawTarget(service)


@asynccontextmanager
async def grpc_message() -> AsyncIterator[Target]:
    async with serving() as service, grpc.aio.insecure_channel(service.grpc) as channel:
        yield MessageTarget(channel)
        await service.check()


@asynccontextmanager
async def upstream_bytes() -> AsyncIterator[Target]:
    upstream = RawUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    engine = UpstreamEngine(Endpoint(f"http://127.0.0.1:{port}/v1"), "theirs")
    try:
        async with serving(ServedModel(Model(id="upstream"), engine)) as service:
            yield UpstreamTarget(service, upstream)
            await service.check()
    finally:
        server.close()
        await server.wait_closed()


Opening = Callable[[], OpenTarget]
