"""Stored completions from their making to their deletion: the same, every way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
import openai
import pytest
from databases import fill_up, opened

from diglot.v1 import chat_pb2

from . import plain
from .plain import Json
from .scenarios import BOTH, HELLO, STREAMED
from .test_answers import collected
from .test_failures import details_of
from .ways import KEY, NAMES, OTHER_KEY, SDK_NAMES, ByChannel, BySdk, Way, open_way

Page = tuple[list[Json], bool]
"""And whether there are more."""

every_way = pytest.mark.parametrize("name", NAMES)


class Stored(Protocol):
    """The calls on stored completions, in plain form."""

    async def get(self, name: str) -> Json: ...
    async def list(self, **query: Any) -> Page: ...
    async def update(self, name: str, metadata: dict[str, str]) -> Json: ...
    async def delete(self, name: str) -> str: ...
    async def messages(self, name: str, **query: Any) -> Page: ...


class StoredByChannel:
    def __init__(self, way: ByChannel, key: str) -> None:
        self._channel = way.channel
        self._options = {"timeout": 30.0, "metadata": (("authorization", f"Bearer {key}"),)}

    async def get(self, name: str) -> Json:
        request = chat_pb2.GetChatCompletionRequest(id=name)
        return plain.from_contract(await self._channel.GetChatCompletion(request, **self._options))

    async def list(self, **query: Any) -> Page:
        request = chat_pb2.ListChatCompletionsRequest(**_ordered(query))
        page = await self._channel.ListChatCompletions(request, **self._options)
        return [plain.from_contract(one) for one in page.completions], page.has_more

    async def update(self, name: str, metadata: dict[str, str]) -> Json:
        request = chat_pb2.UpdateChatCompletionRequest(id=name, metadata=metadata)
        updated = await self._channel.UpdateChatCompletion(request, **self._options)
        return plain.from_contract(updated)

    async def delete(self, name: str) -> str:
        request = chat_pb2.DeleteChatCompletionRequest(id=name)
        answer = await self._channel.DeleteChatCompletion(request, **self._options)
        assert isinstance(answer.id, str)
        return answer.id

    async def messages(self, name: str, **query: Any) -> Page:
        request = chat_pb2.ListChatCompletionMessagesRequest(id=name, **_ordered(query))
        page = await self._channel.ListChatCompletionMessages(request, **self._options)
        return [
            {"id": one.id, **plain.from_contract(one.message)} for one in page.messages
        ], page.has_more


def _ordered(query: dict[str, Any]) -> dict[str, Any]:
    orders = {"asc": chat_pb2.LIST_ORDER_ASCENDING, "desc": chat_pb2.LIST_ORDER_DESCENDING}
    return query | ({"order": orders[query["order"]]} if "order" in query else {})


class StoredBySdk:
    def __init__(self, way: BySdk, key: str) -> None:
        self._completions = way.sdk.with_options(api_key=key).chat.completions
        # The SDK's own type of a stored message allows no role but the assistant's, against
        # OpenAI's own examples: its strict mode refuses what a user said.
        lenient = way.sdk.with_options(api_key=key)
        lenient._strict_response_validation = False
        self._messages = lenient.chat.completions.messages

    async def get(self, name: str) -> Json:
        return plain.from_sdk(await self._completions.retrieve(name))

    async def list(self, **query: Any) -> Page:
        page = await self._completions.list(**query)
        return [plain.from_sdk(one) for one in page.data], bool(page.has_more)

    async def update(self, name: str, metadata: dict[str, str]) -> Json:
        return plain.from_sdk(await self._completions.update(name, metadata=metadata))

    async def delete(self, name: str) -> str:
        answer = await self._completions.delete(name)
        assert answer.deleted
        return answer.id

    async def messages(self, name: str, **query: Any) -> Page:
        page = await self._messages.list(name, **query)
        return [plain.from_sdk(one) for one in page.data], bool(page.has_more)


def stored_by(way: Way, key: str = KEY) -> Stored:
    if isinstance(way, BySdk):
        return StoredBySdk(way, key)
    assert isinstance(way, ByChannel)
    return StoredByChannel(way, key)


@asynccontextmanager
async def storing(name: str, directory: Path) -> AsyncIterator[Way]:
    async with (
        opened(f"sqlite:///{directory}/c.db") as store,
        open_way(name, store=store) as way,
    ):
        yield way


async def make(way: Way, mode: str = "whole", **fields: Any) -> Json:
    """A completion that is stored, as its caller has seen it."""
    body: Json = {"model": "scripted", "messages": [HELLO], "store": True, **fields}
    if mode == STREAMED:
        chunks = await collected(way, body | {"stream_options": {"include_usage": True}})
        identity = {key: chunks[0][key] for key in ("id", "created")}
        return plain.fold(chunks) | identity
    return await way.create(body)


@every_way
@pytest.mark.parametrize("mode", BOTH)
async def test_the_life_of_a_completion(name: str, mode: str, tmp_path: Path) -> None:
    question = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a b c"}], "name": "Ann"},
    ]
    script = {"tool_calls": [{"name": "f"}], "content": "one two"}
    async with storing(name, tmp_path) as way:
        stored = stored_by(way)
        seen = await make(
            way, mode, messages=question, metadata={"topic": "x"}, n=2, scripted=script
        )
        kept = seen | {"metadata": {"topic": "x"}}
        assert await stored.list() == ([kept], False)
        assert await stored.get(seen["id"]) == kept

        kept["metadata"] = {"topic": "y", "more": ""}
        assert await stored.update(seen["id"], kept["metadata"]) == kept
        assert await stored.get(seen["id"]) == kept
        del kept["metadata"]
        assert await stored.update(seen["id"], {}) == kept

        messages, has_more = await stored.messages(seen["id"])
        assert not has_more
        assert [message["id"] for message in messages] == [f"{seen['id']}-0", f"{seen['id']}-1"]
        assert [message["role"] for message in messages] == ["system", "user"]
        assert messages[0]["content"] == "Be brief."
        assert messages[1]["name"] == "Ann"
        assert "content" not in messages[1]

        assert await stored.delete(seen["id"]) == seen["id"]
        assert await stored.list() == ([], False)
        await check_absent(stored, seen["id"])


async def check_absent(stored: Stored, name: str) -> None:
    for asked in (
        stored.get(name),
        stored.update(name, {}),
        stored.delete(name),
        stored.messages(name),
    ):
        with pytest.raises((grpc.aio.AioRpcError, openai.NotFoundError)) as refused:
            await asked
        error = refused.value
        text = f"There is no stored completion '{name}'."
        if isinstance(error, grpc.aio.AioRpcError):
            assert error.code() is grpc.StatusCode.NOT_FOUND
            assert details_of(error)["ErrorInfo"].reason == "NOT_FOUND"
            assert error.details() == text
        else:
            assert isinstance(error, openai.NotFoundError)
            assert error.code == "not_found"
            assert text in error.message


@every_way
async def test_each_key_sees_only_its_own(name: str, tmp_path: Path) -> None:
    async with storing(name, tmp_path) as way:
        mine = await make(way, metadata={"k": "v"})
        theirs = stored_by(way, OTHER_KEY)
        assert await theirs.list() == ([], False)
        assert await theirs.list(metadata={"k": "v"}) == ([], False)
        await check_absent(theirs, mine["id"])
        assert (await stored_by(way).get(mine["id"]))["metadata"] == {"k": "v"}


@every_way
async def test_lists_are_paged_ordered_and_filtered(name: str, tmp_path: Path) -> None:
    async with storing(name, tmp_path) as way:
        stored = stored_by(way)
        names = []
        for number in range(5):
            made = await make(way, metadata={"parity": str(number % 2), "odd key [1]&=": "ü +"})
            names.append(made["id"])
        await way.create({"model": "scripted", "messages": [HELLO]})

        async def ids(**query: Any) -> tuple[list[str], bool]:
            completions, has_more = await stored.list(**query)
            return [completion["id"] for completion in completions], has_more

        assert await ids() == (names, False)
        assert await ids(limit=2) == (names[:2], True)
        assert await ids(limit=2, after=names[1]) == (names[2:4], True)
        assert await ids(limit=1, after=names[3]) == (names[4:], False)
        assert await ids(order="desc", limit=2) == (names[:2:-1], True)
        assert await ids(order="desc", after=names[3]) == (names[2::-1], False)
        assert await ids(metadata={"parity": "1"}) == ([names[1], names[3]], False)
        assert await ids(metadata={"parity": "0", "odd key [1]&=": "ü +"}, limit=2) == (
            [names[0], names[2]],
            True,
        )
        assert await ids(metadata={"parity": "2"}) == ([], False)
        assert await ids(model="scripted") == (names, False)
        assert await ids(model="other") == ([], False)


@every_way
@pytest.mark.parametrize(
    ("query", "param"),
    [({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"after": "nowhere"}, "after")],
)
async def test_what_cannot_be_listed_is_named(
    name: str, query: dict[str, Any], param: str, tmp_path: Path
) -> None:
    async with storing(name, tmp_path) as way:
        stored = stored_by(way)
        made = await make(way)
        for asked in (stored.list(**query), stored.messages(made["id"], **query)):
            with pytest.raises((grpc.aio.AioRpcError, openai.BadRequestError)) as refused:
                await asked
            error = refused.value
            if isinstance(error, grpc.aio.AioRpcError):
                (violation,) = details_of(error)["BadRequest"].field_violations
                assert violation.field == param
            else:
                assert isinstance(error, openai.BadRequestError)
                assert (error.param, error.code) == (param, "invalid_value")


@pytest.mark.parametrize("name", SDK_NAMES)
async def test_the_sdk_walks_all_pages_by_itself(name: str, tmp_path: Path) -> None:
    async with storing(name, tmp_path) as way:
        assert isinstance(way, BySdk)
        made = [(await make(way))["id"] for _ in range(5)]
        pages = way.sdk.chat.completions.list(limit=2, order="desc")
        assert [completion.id async for completion in pages] == made[::-1]


@pytest.mark.parametrize("name", SDK_NAMES)
async def test_the_sdk_at_its_strictest_takes_an_assistants_messages(
    name: str, tmp_path: Path
) -> None:
    """Of other roles it refuses OpenAI's own."""
    async with storing(name, tmp_path) as way:
        assert isinstance(way, BySdk)
        made = await make(
            way, messages=[{"role": "assistant", "content": "hi"}], scripted={"content": "x"}
        )
        (message,) = (await way.sdk.chat.completions.messages.list(made["id"])).data
        assert (message.id, message.content) == (f"{made['id']}-0", "hi")


@every_way
async def test_without_a_store_every_call_says_so(name: str) -> None:
    async with open_way(name) as way:
        stored = stored_by(way)
        for asked in (stored.get("x"), stored.list(), stored.delete("x"), stored.messages("x")):
            with pytest.raises((grpc.aio.AioRpcError, openai.InternalServerError)) as refused:
                await asked
            assert "does not store completions" in str(refused.value)
        with pytest.raises((grpc.aio.AioRpcError, openai.BadRequestError), match="'store'"):
            await make(way)


@every_way
@pytest.mark.parametrize("mode", BOTH)
async def test_what_cannot_be_stored_does_not_end_well(
    name: str, mode: str, tmp_path: Path
) -> None:
    """A stream has begun by then: it ends with the error, and never as if all were well."""
    async with storing(name, tmp_path) as way:
        await fill_up(f"sqlite:///{tmp_path}/c.db")
        seen: list[Json] = []
        with pytest.raises((grpc.aio.AioRpcError, openai.APIError)) as refused:
            await into(seen, way, {"model": "scripted", "messages": [HELLO], "store": True}, mode)
        error = refused.value
        if isinstance(error, grpc.aio.AioRpcError):
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert details_of(error)["ErrorInfo"].reason == "STORE_UNAVAILABLE"
        else:
            assert isinstance(error, openai.APIError)
            assert error.code == "store_unavailable"
            assert isinstance(error, openai.InternalServerError) == (mode != STREAMED)
        assert [choice for chunk in seen for choice in chunk["choices"]] == [
            choice for chunk in seen for choice in chunk["choices"] if "finish_reason" not in choice
        ]
        assert (len(seen) > 1) == (mode == STREAMED)


async def into(seen: list[Json], way: Way, body: Json, mode: str) -> None:
    """What came before a failure is kept."""
    if mode != STREAMED:
        await way.create(body)
    async with aclosing(way.stream(body)) as chunks:
        async for chunk in chunks:
            seen.append(chunk)  # noqa: PERF401
