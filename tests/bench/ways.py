"""The ways to a model: past Diglot, and the three through it, to be measured in turns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER

from .grpc_load import GrpcClient
from .http_load import HttpClient
from .instant_upstream import SHAPES, InstantUpstream, instant_upstream
from .load import Client
from .servers import State, facade, serve, service, state

DIRECT = "past Diglot"
ONE_PROCESS = "HTTP, one process (`serve`)"
APART = "HTTP over gRPC (`facade` + `service`)"
GRPC = "gRPC (`service`)"

_QUESTION = "What is the capital of France, and why?"
_SCRIPTED = '[[models]]\nkind = "scripted"\nname = "scripted"\n'
_UPSTREAM = (
    '[[models]]\nkind = "upstream"\nname = "{name}"\nbase_url = "{url}"\n'
    # More streams than a server takes on by itself.
    "max_running = 10000\n"
)


@dataclass(frozen=True)
class Way:
    """How a client reaches a model, and which processes work for it."""

    name: str
    address: str
    key: str
    processes: tuple[int, ...]
    over_http: bool = True
    path: str = "/v1/chat/completions"
    """May name the {model}."""

    def client(self, model: str, *, stream: bool, apart: bool = False, **extra: Any) -> Client:
        """`extra` are further keys of the request. `apart`: as in GrpcClient."""
        if self.over_http:
            question = {"role": "user", "content": _QUESTION}
            body = {"model": model, "messages": [question], "stream": stream, **extra}
            return HttpClient(self.address, self.key, body, path=self.path.format(model=model))
        request = CreateChatCompletionRequest(model=model)
        request.messages.add(role=ROLE_USER, content=_QUESTION)
        if "max_tokens" in extra:
            request.max_tokens = extra.pop("max_tokens")
        if extra:
            request.extra_json = json.dumps(extra)
        return GrpcClient(self.address, self.key, request, stream=stream, apart=apart)


@dataclass(frozen=True)
class Ways:
    """All of them, up at once: who is not asked costs nothing."""

    through: tuple[Way, ...]
    direct: Way


@asynccontextmanager
async def ways() -> AsyncIterator[Ways]:
    """To the scripted model and, by the names of its shapes and as `whole`, to the instant
    upstream."""
    async with instant_upstream() as upstream, state() as here:
        direct = Way(
            DIRECT, upstream.address, "", (upstream.process,), path="/{model}/v1/chat/completions"
        )
        async with three_ways(here, "--config", str(configuration(here, upstream))) as through:
            yield Ways(through, direct)


@asynccontextmanager
async def three_ways(here: State, *arguments: str) -> AsyncIterator[tuple[Way, ...]]:
    """The arguments are those of `serve` and `service`."""
    async with AsyncExitStack() as running:
        whole = await running.enter_async_context(serve(here, *arguments))
        core = await running.enter_async_context(service(here, *arguments))
        face = await running.enter_async_context(facade(here, core))
        yield (
            Way(ONE_PROCESS, whole.http, here.key, (whole.process,)),
            Way(APART, face.http, here.key, (face.process, core.process)),
            Way(GRPC, core.grpc, here.key, (core.process,), over_http=False),
        )


def configuration(here: State, upstream: InstantUpstream) -> Path:
    """A file with the scripted model, one for each shape of the upstream's answers, and one whose
    unary answers are asked for in one piece."""
    file = here.directory / "diglot.toml"
    models = [_UPSTREAM.format(name=name, url=upstream.base_url(name)) for name in SHAPES]
    whole = _UPSTREAM.format(name="whole", url=upstream.base_url("unary")) + 'unary = "whole"\n'
    file.write_text("\n".join((_SCRIPTED, *models, whole)))
    return file
