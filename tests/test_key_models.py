"""A key that is limited to models: for who shows it, others are not there, on either face."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from faulty_upstream import saying, status, upstream
from serving import ask

from diglot.facade import FacadeOptions, HttpServer, build_app
from diglot.service.command.assembly import Service
from diglot.service.config import load
from diglot.service.inprocess import InProcessChannel
from diglot.service.model_names import ModelNames
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.model_pb2 import GetModelRequest, ListModelsRequest
from diglot.v1.model_pb2_grpc import ModelServiceStub

CONFIG = """
state = "{state}"
store.enabled = false
default_model = "down"

[[models]]
name = "down"
aliases = ["also-down"]
kind = "upstream"
base_url = "{down}"
fallback = "scripted"

[[models]]
name = "scripted"
kind = "scripted"

[[models]]
name = "open/*"
kind = "upstream"
base_url = "{good}"
"""
HIDDEN = ("scripted", "also-down", "default", "open/b", "open/", "nothing")


@dataclass
class Caller:
    """Asks with one key, over both faces."""

    session: aiohttp.ClientSession
    channel: grpc.aio.Channel
    key: str

    @property
    def _options(self) -> dict[str, Any]:
        return {"metadata": (("authorization", f"Bearer {self.key}"),), "timeout": 30}

    async def http(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self.session.request(
            method, path, headers=headers, json=body or None
        ) as response:
            return response.status, await response.json()

    async def listed(self) -> list[str]:
        """The same on both faces."""
        code, body = await self.http("GET", "models")
        assert code == 200
        models = await ModelServiceStub(self.channel).ListModels(
            ListModelsRequest(), **self._options
        )
        names = [model["id"] for model in body["data"]]
        assert names == [model.id for model in models.models]
        return names

    async def asked(self, model: str) -> tuple[str, str]:
        """What it says, and who says it: the same by all four ways."""
        messages = [{"role": "user", "content": "hi"}]
        code, body = await self.http("POST", "chat/completions", model=model, messages=messages)
        assert code == 200, body
        said = body["choices"][0]["message"]["content"], body["model"]
        stub = ChatServiceStub(self.channel)
        answer = await stub.CreateChatCompletion(ask("hi", model=model), **self._options)
        assert (answer.choices[0].message.content, answer.model) == said
        chunks = stub.StreamChatCompletion(ask("hi", model=model), **self._options)
        assert "".join([chunk.choices[0].delta.content async for chunk in chunks]) == said[0]
        return said

    async def refused(self, model: str) -> list[Any]:
        """What all ways to come by a model say of one that is not there; its name left out."""
        outcomes: list[Any] = []
        messages = [{"role": "user", "content": "hi"}]
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", f"models/{model}", {}),
            ("POST", "chat/completions", {"model": model, "messages": messages}),
            ("POST", "chat/completions", {"model": model, "messages": messages, "stream": True}),
            ("POST", "chat/completions", {"model": model, "messages": messages, "n": 1000}),
        ]
        for method, path, body in requests:
            outcomes.append(await self.http(method, path, **body))
        chat, models = ChatServiceStub(self.channel), ModelServiceStub(self.channel)
        for call in (
            models.GetModel(GetModelRequest(id=model), **self._options),
            chat.CreateChatCompletion(ask("hi", model=model), **self._options),
            chat.CreateChatCompletion(ask("hi", model=model, n=1000), **self._options),
        ):
            try:
                await call
            except grpc.aio.AioRpcError as error:
                outcomes.append((error.code(), error.details()))
            else:
                raise AssertionError(model)
        return [str(outcome).replace(model, "MODEL") for outcome in outcomes]


@asynccontextmanager
async def callers(directory: Path, *limits: str | None) -> AsyncIterator[list[Caller]]:
    async with AsyncExitStack() as running:
        down = await running.enter_async_context(upstream(status("503 Service Unavailable")))
        good = await running.enter_async_context(upstream(saying("open")))
        file = directory / "diglot.toml"
        file.write_text(CONFIG.format(state=directory, down=down.base_url, good=good.base_url))
        service = Service(load(file, environ={}))
        running.push_async_callback(service.close)
        await service.start()
        assert service.keys is not None
        keys = [
            service.keys.add("somebody", None if names is None else ModelNames.listed(names))
            for names in limits
        ]
        port = await service.server.start("127.0.0.1:0")
        running.push_async_callback(service.server.stop, 0)
        near = InProcessChannel(service.chat, service.models, service.authenticator)
        http = HttpServer(build_app(near, FacadeOptions()), "127.0.0.1", 0)
        await http.start()
        running.push_async_callback(http.stop, 0)
        session = aiohttp.ClientSession(f"http://{http.address}/v1/")
        await running.enter_async_context(session)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        await running.enter_async_context(channel)
        yield [Caller(session, channel, key) for key in keys]


async def test_a_limited_key_sees_and_uses_its_models_only(tmp_path: Path) -> None:
    async with callers(tmp_path, "down, open/a", None) as (limited, free):
        assert await limited.listed() == ["down", "open/a"]
        assert await free.listed() == ["down", "also-down", "default", "scripted"]
        for name in ("open/a", "scripted", "also-down", "default", "open/b"):
            assert await free.asked(name)
        assert (await limited.asked("open/a"))[0] == "open"

        missing = await free.refused("nothing")
        for name in HIDDEN:
            assert await limited.refused(name) == missing


async def test_a_fallback_answers_also_who_may_not_ask_for_it(tmp_path: Path) -> None:
    """Which model stands in is the operator's choice, not the caller's."""
    async with callers(tmp_path, "also-*") as (limited,):
        assert await limited.listed() == ["also-down"]
        assert await limited.asked("also-down") == ("hi", "scripted")
        assert (await limited.http("GET", "models/scripted"))[0] == 404
