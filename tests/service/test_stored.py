"""The calls on stored completions, as the core takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from databases import locked, opened, put

from diglot.service import errors
from diglot.service.call import Call
from diglot.service.store import CompletionStore, SqliteFile
from diglot.service.stored import StoredCompletions
from diglot.v1 import chat_pb2 as p
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.completion_pb2 import ChatCompletion
from diglot.v1.message_pb2 import ROLE_USER

CALL = Call(request_id="req_test", caller="me")

# Each call, about a completion of this id.
BY_ID: list[tuple[str, Any]] = [
    ("get", p.GetChatCompletionRequest),
    ("update", p.UpdateChatCompletionRequest),
    ("delete", p.DeleteChatCompletionRequest),
    ("messages", p.ListChatCompletionMessagesRequest),
]


@asynccontextmanager
async def calls(directory: Path) -> AsyncIterator[tuple[StoredCompletions, CompletionStore]]:
    async with opened(f"sqlite:///{directory}/c.db") as store:
        yield StoredCompletions(store), store


@pytest.mark.parametrize(("name", "kind"), BY_ID)
async def test_what_is_not_there_and_what_is_anothers_look_the_same(
    tmp_path: Path, name: str, kind: Any
) -> None:
    async with calls(tmp_path) as (stored, store):
        await put(store, "chatcmpl-1", owner="you")
        for completion_id in ("chatcmpl-1", "chatcmpl-2", "", "x" * 1000):
            with pytest.raises(errors.NotFound) as refused:
                await getattr(stored, name)(kind(id=completion_id), CALL)
            shown = completion_id if len(completion_id) <= 100 else "x" * 100 + "…"
            assert refused.value.message == f"There is no stored completion '{shown}'."
            assert refused.value.field == "id"
        assert await store.get("you", "chatcmpl-1") is not None


@pytest.mark.parametrize(("limit", "count"), [(None, 20), (1, 1), (100, 100)])
async def test_a_list_has_twenty_unless_told_otherwise(
    tmp_path: Path, limit: int | None, count: int
) -> None:
    async with calls(tmp_path) as (stored, store):
        await asyncio.gather(*(put(store, f"c{number}") for number in range(101)))
        request = p.CreateChatCompletionRequest()
        for number in range(101):
            request.messages.add(role=ROLE_USER, content=str(number))
        await store.add("me", request, ChatCompletion(id="many", created=0))
        page = await stored.list(p.ListChatCompletionsRequest(limit=limit), CALL)
        assert len(page.completions) == count
        assert page.has_more
        messages = await stored.messages(
            p.ListChatCompletionMessagesRequest(id="many", limit=limit), CALL
        )
        assert len(messages.messages) == count
        assert messages.has_more


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", 0),
        ("limit", -1),
        ("limit", 101),
        ("after", "nowhere"),
        ("after", ""),
        ("order", 7),
    ],
)
async def test_what_cannot_be_listed_is_named(tmp_path: Path, field: str, value: object) -> None:
    asked: dict[str, Any] = {field: value}
    async with calls(tmp_path) as (stored, store):
        await put(store, "c1")
        with pytest.raises(errors.InvalidValue, match=field) as refused:
            await stored.list(p.ListChatCompletionsRequest(**asked), CALL)
        assert refused.value.field == field
        with pytest.raises(errors.InvalidValue, match=field) as refused:
            await stored.messages(p.ListChatCompletionMessagesRequest(id="c1", **asked), CALL)
        assert refused.value.field == field


@pytest.mark.parametrize(
    "metadata", [{str(number): "" for number in range(17)}, {"k" * 65: ""}, {"k": "v" * 513}]
)
async def test_metadata_obeys_the_rule_for_requests(
    tmp_path: Path, metadata: dict[str, str]
) -> None:
    async with calls(tmp_path) as (stored, store):
        kept = await put(store, "c1", metadata={"k": "v"})
        for refused in (
            stored.update(p.UpdateChatCompletionRequest(id="c1", metadata=metadata), CALL),
            stored.list(p.ListChatCompletionsRequest(metadata=metadata), CALL),
        ):
            with pytest.raises(errors.InvalidValue) as caught:
                await refused
            assert caught.value.field == "metadata"
        assert await store.get("me", "c1") == kept


async def test_messages_come_in_pages_either_way(tmp_path: Path) -> None:
    request = CreateChatCompletionRequest()
    for number in range(5):
        request.messages.add(role=ROLE_USER, content=str(number))
    async with calls(tmp_path) as (stored, store):
        await store.add("me", request, ChatCompletion(id="c-1", created=1))
        for order, expected in [
            (p.LIST_ORDER_UNSPECIFIED, "01234"),
            (p.LIST_ORDER_ASCENDING, "01234"),
            (p.LIST_ORDER_DESCENDING, "43210"),
        ]:
            found: list[p.StoredMessage] = []
            has_more = True
            while has_more:
                page = await stored.messages(
                    p.ListChatCompletionMessagesRequest(
                        id="c-1", limit=2, order=order, after=found[-1].id if found else None
                    ),
                    CALL,
                )
                found += page.messages
                has_more = page.has_more
            assert "".join(each.message.content for each in found) == expected
            assert [each.id for each in found] == [f"c-1-{number}" for number in expected]


async def test_a_deadline_bounds_each_call(tmp_path: Path) -> None:
    """Also while the database is being opened."""
    late = Call("req_test", "me", deadline=asyncio.get_running_loop().time() + 0.2)
    async with calls(tmp_path) as (stored, store), locked(f"sqlite:///{tmp_path}/c.db"):
        await store.get("me", "x")
        with pytest.raises(errors.DeadlineExceeded):
            await stored.delete(p.DeleteChatCompletionRequest(id="x"), late)
    store = CompletionStore(SqliteFile(tmp_path / "d.db"))
    store.start()
    with pytest.raises(errors.DeadlineExceeded):
        await StoredCompletions(store).get(p.GetChatCompletionRequest(id="x"), late)
    await store.close()


@pytest.mark.parametrize(("name", "kind"), [*BY_ID, ("list", p.ListChatCompletionsRequest)])
async def test_without_a_store_each_call_says_so(name: str, kind: Any) -> None:
    with pytest.raises(errors.NotImplementedYet, match="does not store completions"):
        await getattr(StoredCompletions(None), name)(kind(), CALL)
