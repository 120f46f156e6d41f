"""The core as a Ray Serve deployment, for who runs Ray already: see deploy/README.md.

Ray calls a deployment's methods by the names of the RPCs, with the messages of the contract. Keys,
errors and cancellation are those of the gRPC face, but for what Ray 2.60 does otherwise:

- A stream that fails ends with its status and message, and without google.rpc details: Ray sends
  those only with an answer. That is why a unary call that fails, which has them, returns one.
- A deadline comes as the cancellation with which the client ends its call.
- A cancellation that meets Ray's proxy while it hands a chunk on is lost there, and the answer is
  generated to its end.
- What was under way on a replica that dies ends with INTERNAL, not UNAVAILABLE.
- Health is /ray.serve.RayServeAPIService/Healthz.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import AioRpcError

from diglot.v1 import chat_pb2, model_pb2
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from .command.assembly import Core
from .config import load
from .entrance import request_id_of
from .inprocess import InProcessChannel, Metadata
from .logs import configure
from .merging import merged

if TYPE_CHECKING:
    from ray.serve.grpc_util import RayServegRPCContext as Context


def app(arguments: dict[str, str]) -> Any:
    """Ray's application builder. Its argument `config` names the configuration file, which each
    replica reads where it runs: no secret travels through the cluster."""
    from ray import serve

    return serve.deployment(RayChat, name="Diglot").bind(arguments["config"])


class RayChat:
    """One replica, with models of its own. The unary RPCs are added below."""

    async def __init__(self, config: str) -> None:  # type: ignore[misc]  # Ray awaits it
        settings = load(Path(config), without={"http", "grpc", "facade"})
        configure(settings.log.format, settings.log.level)
        self._core = Core(settings)
        self.channel = InProcessChannel(
            self._core.chat, self._core.models, self._core.authenticator
        )
        await self._core.start()

    async def __del__(self) -> None:
        await self._core.close()

    async def check_health(self) -> None:
        """Ray replaces a replica that raises here."""
        if not self._core.models.ready:
            raise RuntimeError("no model can answer")

    async def StreamChatCompletion(
        self, request: CreateChatCompletionRequest, grpc_context: Context
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        call = self.channel.StreamChatCompletion(request, metadata=_metadata(grpc_context))
        try:
            async for burst in call:
                for chunk in merged(burst):
                    yield chunk
        except AioRpcError as error:
            _tell(grpc_context, error)
            raise
        finally:
            call.cancel()


def _metadata(context: Context) -> Metadata:
    """The call's, with an id for it, which goes back to the client."""
    theirs = context.invocation_metadata()
    ours = ("x-request-id", request_id_of(theirs))
    context.set_trailing_metadata([ours])
    return [ours, *theirs]


def _tell(context: Context, error: AioRpcError) -> None:
    """Makes the error the call's status."""
    context.set_code(error.code())
    context.set_details(error.details())
    context.set_trailing_metadata(list(error.trailing_metadata()))


def _unary(name: str, empty: Callable[[], Message]) -> Callable[..., Awaitable[Message]]:
    async def method(self: RayChat, request: Message, grpc_context: Context) -> Message:
        call: Callable[..., Awaitable[Message]] = getattr(self.channel, name)
        try:
            return await call(request, metadata=_metadata(grpc_context))
        except AioRpcError as error:
            _tell(grpc_context, error)
            return empty()

    return method


for _file in (chat_pb2, model_pb2):
    for _service in _file.DESCRIPTOR.services_by_name.values():
        for _rpc in _service.methods:
            if not _rpc.server_streaming:
                setattr(RayChat, _rpc.name, _unary(_rpc.name, GetMessageClass(_rpc.output_type)))
