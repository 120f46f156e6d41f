"""The four ways to ask the same core, each with a scripted model and a key of its own."""

from __future__ import annotations

import asyncio
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import grpc
import openai
from engines import each, one_by_one
from openai import AsyncOpenAI
from openai.resources.chat.completions import AsyncCompletions

from diglot.burst import Burst
from diglot.facade import Channel, FacadeOptions, HttpServer, RemoteChannel, build_app
from diglot.facade.parse import parse
from diglot.facade.to_contract import to_contract
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.errors import InvalidKey
from diglot.service.inprocess import InProcessChannel
from diglot.service.keys import Caller
from diglot.service.models import Models, ServedModel
from diglot.service.scripted import ScriptedEngine
from diglot.service.server import GrpcServer
from diglot.service.store import CompletionStore
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.model_pb2 import Model

from . import plain
from .plain import Json

KEY = "sk-conformance"
OTHER_KEY = "sk-somebody-else"

NAMES = ("sdk, in-process", "sdk, grpc", "grpc", "in-process")
SDK_NAMES = NAMES[:2]

# Long enough for any machine; a call that hangs shall fail, and say where.
_TIMEOUT = 30.0
_PARAMETERS = frozenset(inspect.signature(AsyncCompletions.create).parameters)


class TwoKeys:
    def authenticate(self, authorization: str | None) -> Caller:
        for key in (KEY, OTHER_KEY):
            if authorization == f"Bearer {key}":
                return Caller(key, "conformance")
        raise InvalidKey("Incorrect API key provided.")


class RecordingEngine(ScriptedEngine):
    """The scripted model, with what reached it.

    Between two chunks others have a turn, as between tokens: so none waits for another, and none
    are merged on the way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[CreateChatCompletionRequest] = []

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        copy = CreateChatCompletionRequest()
        copy.CopyFrom(request)
        self.requests.append(copy)
        async with aclosing(one_by_one(super().stream(request, call))) as chunks:
            async for chunk in chunks:
                await asyncio.sleep(0)
                yield [chunk]


class Way(ABC):
    """Takes requests as OpenAI's JSON, and gives answers in plain form."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    @property
    def received(self) -> list[CreateChatCompletionRequest]:
        """What reached the model."""
        assert isinstance(self.engine, RecordingEngine)
        return self.engine.requests

    @abstractmethod
    async def create(self, body: Json, key: str | None = KEY) -> Json:
        """The completion."""

    @abstractmethod
    def stream(self, body: Json, key: str | None = KEY) -> AsyncGenerator[Json, None]:
        """The chunks."""


class ByChannel(Way):
    """Calls the service's methods: on a socket, or without one."""

    def __init__(self, engine: ScriptedEngine, channel: Any, timeout: float) -> None:
        super().__init__(engine)
        self.channel = channel
        self._timeout = timeout

    async def create(self, body: Json, key: str | None = KEY) -> Json:
        call = self.channel.CreateChatCompletion(to_request(body), **self._options(key))
        return plain.from_contract(await call)

    async def stream(self, body: Json, key: str | None = KEY) -> AsyncGenerator[Json, None]:
        call = self.channel.StreamChatCompletion(to_request(body), **self._options(key))
        try:
            async for said in call:
                for chunk in each(said):
                    yield plain.from_contract(chunk)
        finally:
            call.cancel()

    def _options(self, key: str | None) -> dict[str, Any]:
        metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        return {"timeout": self._timeout, "metadata": metadata}


class BySdk(Way):
    """Asks the façade, with OpenAI's own client at its strictest."""

    def __init__(self, engine: ScriptedEngine, sdk: AsyncOpenAI) -> None:
        super().__init__(engine)
        self.sdk = sdk

    async def create(self, body: Json, key: str | None = KEY) -> Json:
        answer = await self.sdk.chat.completions.create(**arguments(body, key))
        return plain.from_sdk(answer)

    async def stream(self, body: Json, key: str | None = KEY) -> AsyncGenerator[Json, None]:
        asked = arguments(body, key)
        async with await self.sdk.chat.completions.create(**asked, stream=True) as chunks:
            async for chunk in chunks:
                yield plain.from_sdk(chunk)


def to_request(body: Json) -> CreateChatCompletionRequest:
    """By the façade's own mapping, so that a scenario is written once."""
    return to_contract(parse(json.dumps(body, ensure_ascii=False).encode()))


def arguments(body: Json, key: str | None = KEY) -> dict[str, Any]:
    """The body as arguments of the SDK: what that does not know goes in `extra_body`."""
    header = openai.Omit() if key is None else f"Bearer {key}"
    return {
        **{name: value for name, value in body.items() if name in _PARAMETERS},
        "extra_body": {name: value for name, value in body.items() if name not in _PARAMETERS},
        "extra_headers": {"Authorization": header},
    }


@asynccontextmanager
async def open_ways(
    *names: str,
    timeout: float = _TIMEOUT,
    engine: ScriptedEngine | None = None,
    store: CompletionStore | None = None,
) -> AsyncIterator[list[Way]]:
    """Ways to one core, with whatever they need. `timeout` bounds each call."""
    engine = engine or RecordingEngine()
    models = Models([ServedModel(Model(id="scripted", owned_by="diglot"), engine)])
    chat = ChatService(models, store)
    near = InProcessChannel(chat, models, TwoKeys())
    async with AsyncExitStack() as running:
        running.push_async_callback(models.close)
        await models.start()
        if set(names) & {"sdk, grpc", "grpc"}:
            server = GrpcServer(chat, models, TwoKeys())
            running.push_async_callback(server.stop, 0)
            target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        ways: list[Way] = []
        for name in names:
            match name:
                case "in-process":
                    ways.append(ByChannel(engine, near, timeout))
                case "grpc":
                    wire = await running.enter_async_context(grpc.aio.insecure_channel(target))
                    ways.append(ByChannel(engine, ChatServiceStub(wire), timeout))
                case "sdk, in-process":
                    ways.append(BySdk(engine, await _sdk(running, near, timeout)))
                case "sdk, grpc":
                    far = RemoteChannel(target)
                    running.push_async_callback(far.close)
                    ways.append(BySdk(engine, await _sdk(running, far, timeout)))
                case _:
                    raise ValueError(name)
        yield ways


@asynccontextmanager
async def open_way(name: str, **options: Any) -> AsyncIterator[Way]:
    async with open_ways(name, **options) as [way]:
        yield way


@asynccontextmanager
async def open_sdk(name: str, **options: Any) -> AsyncIterator[BySdk]:
    async with open_way(name, **options) as way:
        assert isinstance(way, BySdk)
        yield way


async def _sdk(running: AsyncExitStack, channel: Channel, timeout: float) -> AsyncOpenAI:
    server = HttpServer(build_app(channel, FacadeOptions(timeout=timeout)), "127.0.0.1", 0)
    await server.start()
    running.push_async_callback(server.stop, 0)
    return await running.enter_async_context(
        AsyncOpenAI(
            api_key=KEY,
            base_url=f"http://{server.address}/v1",
            max_retries=0,
            # There is no TLS to verify, and reading the machine's certificates takes longer
            # than a test.
            http_client=openai.DefaultAsyncHttpxClient(verify=False),
            _strict_response_validation=True,
        )
    )
