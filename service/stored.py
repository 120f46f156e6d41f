"""The calls on stored completions: what they take, and what they answer.

Each caller sees what was stored with the same key. Of everything else it learns nothing, not
even that it exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from diglot.v1.chat_pb2 import (
    LIST_ORDER_DESCENDING,
    CreateChatCompletionRequest,
    DeleteChatCompletionRequest,
    DeleteChatCompletionResponse,
    GetChatCompletionRequest,
    ListChatCompletionMessagesRequest,
    ListChatCompletionMessagesResponse,
    ListChatCompletionsRequest,
    ListChatCompletionsResponse,
    ListOrder,
    StoredMessage,
    UpdateChatCompletionRequest,
)
from diglot.v1.completion_pb2 import ChatCompletion

from .call import Call
from .errors import (
    ChatError,
    DeadlineExceeded,
    InternalError,
    InvalidValue,
    NotFound,
    NotImplementedYet,
    name_of,
)
from .store import CompletionStore, Query
from .validation import parameters

if TYPE_CHECKING:
    from .telemetry.tracing import Tracing

DEFAULT_LIMIT, MOST = 20, 100

_Listing = ListChatCompletionsRequest | ListChatCompletionMessagesRequest


class StoredCompletions:
    """What was stored; without a store every call is refused."""

    def __init__(self, store: CompletionStore | None, tracing: Tracing | None = None) -> None:
        self._store = store
        self._tracing = tracing

    async def get(self, request: GetChatCompletionRequest, call: Call) -> ChatCompletion:
        async with self._using(call, "GetChatCompletion") as store:
            return _found(await store.get(call.caller, request.id), request.id)

    async def list(
        self, request: ListChatCompletionsRequest, call: Call
    ) -> ListChatCompletionsResponse:
        async with self._using(call, "ListChatCompletions") as store:
            _check_metadata(request.metadata)
            query = Query(
                limit=_limit(request),
                after=request.after if request.HasField("after") else None,
                descending=_descends(request),
                model=request.model if request.HasField("model") else None,
                metadata=request.metadata,
            )
            found = await store.list(call.caller, query)
            if found is None:
                raise _no_such_place(request)
            completions, has_more = found
            return ListChatCompletionsResponse(completions=completions, has_more=has_more)

    async def update(self, request: UpdateChatCompletionRequest, call: Call) -> ChatCompletion:
        async with self._using(call, "UpdateChatCompletion") as store:
            _check_metadata(request.metadata)
            updated = await store.update(call.caller, request.id, request.metadata)
            return _found(updated, request.id)

    async def delete(
        self, request: DeleteChatCompletionRequest, call: Call
    ) -> DeleteChatCompletionResponse:
        async with self._using(call, "DeleteChatCompletion") as store:
            if not await store.delete(call.caller, request.id):
                raise _not_found(request.id)
            return DeleteChatCompletionResponse(id=request.id)

    async def messages(
        self, request: ListChatCompletionMessagesRequest, call: Call
    ) -> ListChatCompletionMessagesResponse:
        async with self._using(call, "ListChatCompletionMessages") as store:
            limit, descends = _limit(request), _descends(request)
            stored = await store.get_request(call.caller, request.id)
            if stored is None:
                raise _not_found(request.id)
            messages = [
                StoredMessage(id=f"{request.id}-{place}", message=message)
                for place, message in enumerate(stored.messages)
            ]
            if descends:
                messages.reverse()
            if request.HasField("after"):
                places = {message.id: place for place, message in enumerate(messages)}
                if request.after not in places:
                    raise _no_such_place(request)
                messages = messages[places[request.after] + 1 :]
            return ListChatCompletionMessagesResponse(
                messages=messages[:limit], has_more=len(messages) > limit
            )

    @asynccontextmanager
    async def _using(self, call: Call, method: str) -> AsyncIterator[CompletionStore]:
        """The store, for a call that is to show in a trace, whatever comes of it."""
        span = self._tracing.begin_call(call, method) if self._tracing is not None else None
        outcome = "cancelled"
        try:
            if self._store is None:
                raise NotImplementedYet("This server does not store completions.")
            async with asyncio.timeout_at(call.deadline):
                yield self._store
            outcome = "ok"
        except TimeoutError:
            outcome = name_of(late := DeadlineExceeded()).lower()
            raise late from None
        except Exception as error:
            told = error if isinstance(error, ChatError) else InternalError()
            outcome = name_of(told).lower()
            raise
        finally:
            if span is not None:
                span.end(outcome)


def _found(completion: ChatCompletion | None, completion_id: str) -> ChatCompletion:
    if completion is None:
        raise _not_found(completion_id)
    return completion


def _not_found(completion_id: str) -> NotFound:
    shown = completion_id if len(completion_id) <= 100 else completion_id[:100] + "…"
    return NotFound(f"There is no stored completion '{shown}'.", field="id")


def _no_such_place(request: _Listing) -> InvalidValue:
    return InvalidValue(
        "Invalid 'after': there is nothing with this id, or it was deleted long ago.",
        field="after",
    )


def _limit(request: _Listing) -> int:
    if not request.HasField("limit"):
        return DEFAULT_LIMIT
    if not 1 <= request.limit <= MOST:
        raise InvalidValue(
            f"Invalid value for 'limit': expected an integer from 1 to {MOST}, "
            f"but got {request.limit}.",
            field="limit",
        )
    return request.limit


def _descends(request: _Listing) -> bool:
    if request.order not in ListOrder.values():
        raise InvalidValue("Invalid value for 'order'.", field="order")
    return request.order == LIST_ORDER_DESCENDING


def _check_metadata(metadata: Mapping[str, str]) -> None:
    """By the rule for those of a request."""
    faults: Iterable[Exception] = parameters.metadata(
        CreateChatCompletionRequest(metadata=metadata)
    )
    for fault in faults:
        raise fault
