"""The three ways to the scripted model, all up at once, to be measured in turns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER

from .grpc_load import GrpcClient
from .http_load import HttpClient
from .load import Client
from .servers import facade, serve, service, state

_QUESTION = "What is the capital of France, and why?"


@dataclass(frozen=True)
class Way:
    """How a client reaches the model, and which processes work for it."""

    name: str
    address: str
    key: str
    processes: tuple[int, ...]
    over_http: bool = True

    def client(self, *, stream: bool, script: dict[str, Any] | None = None) -> Client:
        """Without a script the model says the question back."""
        extra = {} if script is None else {"scripted": script}
        if self.over_http:
            question = {"role": "user", "content": _QUESTION}
            body = {"model": "scripted", "messages": [question], "stream": stream, **extra}
            return HttpClient(self.address, self.key, body)
        request = CreateChatCompletionRequest(model="scripted")
        request.messages.add(role=ROLE_USER, content=_QUESTION)
        if extra:
            request.extra_json = json.dumps(extra)
        return GrpcClient(self.address, self.key, request, stream=stream)


@asynccontextmanager
async def three_ways() -> AsyncIterator[tuple[Way, ...]]:
    async with AsyncExitStack() as running:
        here = await running.enter_async_context(state())
        whole = await running.enter_async_context(serve(here, "--model", "scripted"))
        core = await running.enter_async_context(service(here))
        face = await running.enter_async_context(facade(here, core))
        yield (
            Way("HTTP, one process (`serve`)", whole.http, here.key, (whole.process,)),
            Way(
                "HTTP over gRPC (`facade` + `service`)",
                face.http,
                here.key,
                (face.process, core.process),
            ),
            Way("gRPC (`service`)", core.grpc, here.key, (core.process,), over_http=False),
        )
