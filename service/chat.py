"""The core: what a completion is, whoever asks and whatever answers."""

from __future__ import annotations

import logging
import secrets
import string
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import ChatCompletion, Usage

from .call import Call, Expiry
from .errors import ChatError, InvalidValue, name_of
from .fold import Fold
from .models import Models
from .validation import check

logger = logging.getLogger("diglot.chat")

# From random bytes to letters and digits: one system call for an id, not one for each letter.
_LETTERS = bytes((string.ascii_letters + string.digits).encode()[byte % 62] for byte in range(256))


def new_completion_id() -> str:
    """As OpenAI's look; some 170 bits, so that ids never collide, wherever they are stored."""
    return "chatcmpl-" + secrets.token_bytes(29).translate(_LETTERS).decode()


class ChatService:
    """Protobuf in, protobuf out: the gRPC servicer, the façade's in-process channel and any
    other host are thin adapters over this one object.

    The order of work is fixed: validate, resolve the model, generate, account. Whatever can
    refuse does so before the first chunk. All errors are ChatErrors.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    async def create(self, request: CreateChatCompletionRequest, call: Call) -> ChatCompletion:
        """Generates a completion and returns it whole: the fold of the stream."""
        if request.HasField("stream_options"):
            raise InvalidValue(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                field="stream_options",
            )
        whole = Fold()
        async with aclosing(self._generate(request, call, with_usage=True)) as chunks:
            async for chunk in chunks:
                whole.add(chunk)
        return whole.completion()

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Generates a completion and yields it while it grows.

        Close the generator (`contextlib.aclosing`) to end the generation early.
        """
        return self._generate(request, call, with_usage=request.stream_options.include_usage)

    async def _generate(
        self, request: CreateChatCompletionRequest, call: Call, *, with_usage: bool
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        account = _Account(request.model, call)
        expiry = None
        try:
            check(request)
            served = self._models.resolve(request.model)
            completion_id = new_completion_id()
            created = int(time.time())
            model = served.model.id
            padded = request.stream_options.include_obfuscation
            if call.deadline is not None:
                expiry = Expiry(call.deadline)
            async with aclosing(served.engine.stream(request, call)) as chunks:
                while True:
                    try:
                        chunk = await (expiry.next(chunks) if expiry else anext(chunks))
                    except StopAsyncIteration:
                        break
                    account.began()
                    chunk.id = completion_id
                    chunk.created = created
                    if not chunk.model:
                        chunk.model = model
                    if chunk.HasField("usage"):
                        account.usage = chunk.usage
                        if not with_usage:
                            continue
                    if padded:
                        chunk.obfuscation = secrets.token_urlsafe(12)[: secrets.randbelow(16)]
                    yield chunk
            account.outcome = "ok"
        except ChatError as error:
            account.outcome = name_of(error).lower()
            raise
        except Exception:
            account.outcome = "internal"
            raise
        finally:
            if expiry is not None:
                expiry.disarm()
            account.close()


class _Account:
    """What one call came to: a line in the log when it has ended, however it ended."""

    def __init__(self, model: str, call: Call) -> None:
        self.outcome = "cancelled"  # unless something else is said before the end
        self.usage: Usage | None = None
        self._model = model
        self._call = call
        self._start = time.perf_counter()
        self._first: float | None = None

    def began(self) -> None:
        if self._first is None:
            self._first = time.perf_counter()

    def close(self) -> None:
        now = time.perf_counter()
        extra: dict[str, object] = {
            "request_id": self._call.request_id,
            "key": self._call.caller,
            "model": self._model[:100],
            "outcome": self.outcome,
            "ms": round((now - self._start) * 1000, 1),
        }
        if self._first is not None:
            extra["first_chunk_ms"] = round((self._first - self._start) * 1000, 1)
        if self.usage is not None:
            extra["prompt_tokens"] = self.usage.prompt_tokens
            extra["completion_tokens"] = self.usage.completion_tokens
        logger.info("completion", extra=extra)
