"""Chat by diglot.v1."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import grpc

from diglot.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    completion_pb2,
    message_pb2,
    model_pb2,
    model_pb2_grpc,
)

from ..arguments import Failure
from .server import BROKEN, Piece, Turn, one_line

_ROLES = {
    "system": message_pb2.ROLE_SYSTEM,
    "user": message_pb2.ROLE_USER,
    "assistant": message_pb2.ROLE_ASSISTANT,
}
_PREFIX = "FINISH_REASON_"


class GrpcServer:
    """A Diglot's gRPC face."""

    def __init__(
        self,
        target: str,
        key: str | None,
        ca: bytes | None = None,
        certificate: bytes | None = None,
        private_key: bytes | None = None,
    ) -> None:
        self.place = target
        self._credentials = (
            None if ca is None else grpc.ssl_channel_credentials(ca, private_key, certificate)
        )
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._open: grpc.aio.Channel | None = None

    async def models(self) -> list[str]:
        stub = model_pb2_grpc.ModelServiceStub(self._channel())
        try:
            answer = await stub.ListModels(model_pb2.ListModelsRequest(), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        return [model.id for model in answer.models]

    async def answer(self, model: str, turns: Sequence[Turn]) -> AsyncGenerator[Piece, None]:
        request = chat_pb2.CreateChatCompletionRequest(model=model)
        for turn in turns:
            request.messages.add(role=_ROLES[turn.role], content=turn.content)
        stub = chat_pb2_grpc.ChatServiceStub(self._channel())
        call = stub.StreamChatCompletion(request, metadata=self._metadata)
        try:
            async for chunk in call:
                for choice in chunk.choices:
                    delta = choice.delta
                    yield Piece(
                        text=delta.content or delta.refusal,
                        thought=delta.reasoning_content,
                        finish=_finish(choice.finish_reason),
                    )
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()

    def _channel(self) -> grpc.aio.Channel:
        """Opened by the first call: a channel belongs to the loop that runs then."""
        if self._open is None:
            self._open = (
                grpc.aio.insecure_channel(self.place)
                if self._credentials is None
                else grpc.aio.secure_channel(self.place, self._credentials)
            )
        return self._open

    def _failure(self, error: grpc.aio.AioRpcError) -> Failure:
        said = one_line(error.details() or "") or BROKEN
        hint = ""
        if error.code() is grpc.StatusCode.UNAUTHENTICATED and not self._metadata:
            hint = " (a key goes into DIGLOT_API_KEY or --key-file)"
        return Failure(f"{error.code().name}: {said}{hint}")


def _finish(reason: completion_pb2.FinishReason.ValueType) -> str:
    if reason == completion_pb2.FINISH_REASON_UNSPECIFIED:
        return ""
    return completion_pb2.FinishReason.Name(reason).removeprefix(_PREFIX).lower()
