"""The core: what a completion is, whoever asks and whatever answers."""

from __future__ import annotations

import os
import secrets
import string
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from diglot.burst import Burst, TextRun, chunks_of, messages_of
from diglot.presence import has
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import ChatCompletion

from .account import Account
from .answer_check import AnswerCheck
from .call import Call, Expiry
from .capability import EVERYTHING
from .errors import ChatError, InvalidAnswer, InvalidValue, ModelNotFound, UnsupportedParameter
from .fold import Fold
from .models import Models, Offer, ServedModel
from .store import CompletionStore, recorded
from .stored import StoredCompletions
from .telemetry.metrics import Metrics
from .validation import check

if TYPE_CHECKING:
    from .telemetry.tracing import Tracing

# From random bytes to letters and digits: one system call for an id, not one for each letter.
_LETTERS = bytes((string.ascii_letters + string.digits).encode()[byte % 62] for byte in range(256))


def new_completion_id() -> str:
    """As OpenAI's look; some 170 bits, so that ids never collide, wherever they are stored."""
    return "chatcmpl-" + os.urandom(29).translate(_LETTERS).decode()


class ChatService:
    """Protobuf in, protobuf out: the gRPC servicer, the façade's in-process channel and any
    other host are thin adapters over this one object.

    The order of work is fixed: validate, resolve the model, admit, generate, check, account.
    Whatever can refuse does so before the first chunk. All errors are ChatErrors.
    """

    def __init__(
        self,
        models: Models,
        store: CompletionStore | None = None,
        *,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Without a store, requests to store a completion are refused."""
        self._models = models
        self._store = store
        self._metrics = metrics
        self._tracing = tracing
        self.stored = StoredCompletions(store, tracing)

    async def create(self, request: CreateChatCompletionRequest, call: Call) -> ChatCompletion:
        """Generates a completion and returns it whole: the fold of the stream."""
        if request.HasField("stream_options"):
            raise InvalidValue(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                field="stream_options",
            )
        whole = Fold()
        begun = False
        bursts = self._generate(request, call.in_one_piece(), True, streamed=False)
        try:
            async for burst in bursts:
                begun = True
                whole.add(burst)
        except ChatError as error:
            error.worked |= begun
            raise
        finally:
            await bursts.aclose()  # by hand, here and below: `aclosing` costs every call more
        return whole.completion()

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        """Generates a completion and yields it while it grows.

        Close the generator (`contextlib.aclosing`) to end the generation early.
        """
        return self._generate(request, call, request.stream_options.include_usage, streamed=True)

    def _admissible(
        self, request: CreateChatCompletionRequest, call: Call, offer: Offer
    ) -> ServedModel:
        """The model that is to answer. Raises whatever speaks against it."""
        served = offer.find(request.model, call.models)
        check(request, EVERYTHING if served is None else served.engine.capabilities)
        if served is None:
            raise ModelNotFound(request.model)
        if request.store and self._store is None:
            raise UnsupportedParameter(
                "Unsupported parameter: 'store': this server does not store completions.",
                field="store",
            )
        if served.max_completion_tokens is not None:
            _cap(request, served.max_completion_tokens)
        return served

    async def _generate(
        self,
        request: CreateChatCompletionRequest,
        call: Call,
        with_usage: bool,
        *,
        streamed: bool,
    ) -> AsyncGenerator[Burst, None]:
        account = Account(request.model, call, streamed=streamed, metrics=self._metrics)
        if self._tracing is not None:
            call = account.trace(self._tracing)
        expiry = place = None
        offer = self._models.enter()
        try:
            served = self._admissible(request, call, offer)
            account.admitted(served.label)
            if served.timeout is not None:
                call = call.within(served.timeout)
            if served.admission is not None:
                place = await served.admission.enter(call, request.n or 1)
                account.waited(place.waited)
            padded = request.stream_options.include_obfuscation
            if call.deadline is not None:
                expiry = Expiry(call.deadline)
            answer = served.engine.stream(request, call)
            finish = _Finish(served, request)
            finishing: _Finish | None = finish
            if request.store and self._store is not None:
                # What is stored has to be finished before it is.
                answer = recorded(
                    _finished(answer, finish), request, call, self._store, account.stored
                )
                finishing = None
            try:
                while True:
                    try:
                        burst = await (expiry.next(answer) if expiry else anext(answer))
                    except StopAsyncIteration:
                        break
                    for part in (burst,) if finishing is None else finishing(burst):
                        told: Burst = _heard(part, account, with_usage=with_usage)
                        if padded:
                            told = [_padded(chunk) for chunk in chunks_of(told)]
                        if told:
                            yield told
            finally:
                await answer.aclose()
            account.ended()
        except Exception as error:
            account.failed(error)
            raise
        finally:
            if expiry is not None:
                expiry.disarm()
            if place is not None:
                place.leave()
            offer.leave()
            account.close()


class _Finish:
    """Checks what an engine says, and names it: one completion."""

    def __init__(self, served: ServedModel, request: CreateChatCompletionRequest) -> None:
        self._promised = AnswerCheck(request) or None
        self._id = new_completion_id()
        self._created = int(time.time())
        self._model = served.model.id

    def __call__(self, burst: Burst) -> Iterable[Burst]:
        """The burst. Raises InvalidAnswer, after what comes before that."""
        for message in messages_of(burst):
            message.id = self._id
            message.created = self._created
            if not message.model:
                message.model = self._model
        return (burst,) if self._promised is None else _kept(self._promised, burst)


def _kept(promised: AnswerCheck, burst: Burst) -> Iterator[Burst]:
    for place, said in enumerate(burst):
        try:
            promised.look(said)
        except InvalidAnswer:
            if place:
                yield burst[:place]
            raise
    yield burst


async def _finished(
    bursts: AsyncGenerator[Burst, None], finish: _Finish
) -> AsyncGenerator[Burst, None]:
    async with aclosing(bursts):
        async for burst in bursts:
            for part in finish(burst):
                yield part


def _heard(burst: Burst, account: Account, *, with_usage: bool) -> Burst:
    """Accounts for the burst, and returns what the caller is to have of it."""
    count = 0
    told = []
    for said in burst:
        if type(said) is TextRun:
            count += len(said.texts)
        else:
            count += 1
            if has(said, "usage"):
                account.usage = said.usage
                if not with_usage:
                    continue
        told.append(said)
    account.chunks(count)
    return told


def _padded(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    chunk.obfuscation = secrets.token_urlsafe(12)[: secrets.randbelow(16)]
    return chunk


def _cap(request: CreateChatCompletionRequest, most: int) -> None:
    """Refuses, as OpenAI does, what asks for more tokens; gives `most` to what asks for none."""
    if request.HasField("max_tokens"):
        field, asked = "max_tokens", request.max_tokens
    else:
        field, asked = "max_completion_tokens", request.max_completion_tokens
        if not request.HasField("max_completion_tokens"):
            request.max_completion_tokens = most
    if asked > most:
        raise InvalidValue(
            f"{field} is too large: {asked}. This model supports at most {most} completion "
            f"tokens, whereas you provided {asked}.",
            field=field,
        )
