"""Completions stored while they are answered: nothing waits for it but the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from databases import fill_up, locked, opened, rows
from engines import BurstEngine, one_by_one
from postgres import PostgresServer
from serving import ScriptedChat, ask, scripted_service

from diglot.burst import TextRun, chunks_of
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.fold import Fold
from diglot.service.store import recorded
from diglot.v1.chat_pb2 import GetChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import FINISH_REASON_STOP, ChatCompletion, Usage
from diglot.v1.message_pb2 import ROLE_ASSISTANT

CALL = Call(request_id="req_test", caller="me")


@asynccontextmanager
async def storing(url: str) -> AsyncIterator[ScriptedChat]:
    async with opened(url) as store, scripted_service(store) as chat:
        yield chat


async def stored(chat: ScriptedChat, completion_id: str) -> ChatCompletion | None:
    assert chat._store is not None
    return await chat._store.get("me", completion_id)


def folded(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    whole = Fold()
    for chunk in chunks:
        whole.add([chunk])
    return whole.completion()


async def read(chunks: AsyncIterator[ChatCompletionChunk], into: list[ChatCompletionChunk]) -> None:
    """What came before a failure is kept."""
    async for chunk in chunks:
        into.append(chunk)  # noqa: PERF401


def ends(chunk: ChatCompletionChunk) -> bool:
    return any(choice.HasField("finish_reason") for choice in chunk.choices)


async def test_what_is_stored_is_what_was_answered(database_url: str) -> None:
    """Whole or streamed, with its usage, and with the metadata of the request."""
    script = {"content": "a b c", "reasoning": "hm", "tool_calls": [{"name": "f"}]}
    metadata = {"topic": "test"}
    asked: dict[str, Any] = {"script": script, "n": 3, "logprobs": True, "metadata": metadata}
    async with storing(database_url) as chat:
        whole = await chat.create(ask(store=True, **asked), CALL)
        streaming = one_by_one(chat.stream(ask(store=True, **asked), CALL))
        chunks = [chunk async for chunk in streaming]
        assert not any(chunk.HasField("usage") for chunk in chunks)  # nobody asked for it
        streamed = folded(chunks)
        streamed.usage.CopyFrom(whole.usage)
        for answer in (whole, streamed):
            assert not answer.metadata
            answer.metadata.update(metadata)
            assert await stored(chat, answer.id) == answer


async def test_without_store_nothing_is_kept(database_url: str) -> None:
    async with storing(database_url) as chat:
        await chat.create(ask(), CALL)
        await chat.create(ask(store=False, metadata={"k": "v"}), CALL)
        assert [chunk async for chunk in chat.stream(ask(), CALL)]
    assert await rows(database_url) == 0


async def test_every_chunk_but_the_end_comes_while_the_database_hangs(database_url: str) -> None:
    async with storing(database_url) as chat:
        plain = [chunk async for chunk in one_by_one(chat.stream(ask("a b c", n=2), CALL))]
        async with aclosing(one_by_one(chat.stream(ask("a b c", store=True, n=2), CALL))) as chunks:
            async with locked(database_url):
                began = [await anext(chunks) for _ in plain[:-1]]
                # The first choice's end is no end of the answer.
                assert [ends(chunk) for chunk in began] == [ends(chunk) for chunk in plain[:-1]]
                ending = asyncio.ensure_future(anext(chunks))
                _, waiting = await asyncio.wait((ending,), timeout=0.2)
                assert waiting
                # It waits for the database, and does not keep the model from others.
                assert chat.engine.active == 0
                assert await rows(database_url) == 0
            assert ends(await ending)
            assert [chunk async for chunk in chunks] == []
    assert await rows(database_url) == 1


async def test_a_burst_that_brings_the_end_is_told_in_two_parts(database_url: str) -> None:
    """What it says at once; that it ends, and what that cost, when it is stored."""
    request = ask("a b c", store=True, n=2, stream_options={"include_usage": True})
    async with storing(database_url) as chat:
        [whole] = [burst async for burst in chat.engine.stream(request, CALL)]
        async with aclosing(chat.stream(request, CALL)) as bursts:
            async with locked(database_url):
                said = [*chunks_of(await anext(bursts))]
                telling = asyncio.ensure_future(anext(bursts))
                _, waiting = await asyncio.wait((telling,), timeout=0.2)
                assert waiting
            end, usage = chunks_of(await telling)
            assert await stored(chat, end.id) is not None
            assert [burst async for burst in bursts] == []
    assert [choice.message.content for choice in folded(said).choices] == ["a b c", "a b c"]
    assert [choice.index for chunk in said for choice in chunk.choices if ends(chunk)] == [0]
    assert [choice.index for choice in end.choices if ends(end)] == [1]
    assert usage.usage.completion_tokens == 6
    assert len(said) + 2 == len([*chunks_of(whole)])


async def test_what_comes_after_the_end_waits_with_it(database_url: str) -> None:
    """Also in a burst of its own, and text too."""
    opening, late, end = ChatCompletionChunk(), ChatCompletionChunk(), ChatCompletionChunk()
    opening.choices.add().delta.role = ROLE_ASSISTANT
    end.choices.add(finish_reason=FINISH_REASON_STOP)
    late.choices.add().delta.content = "?"
    usage = ChatCompletionChunk(usage=Usage(completion_tokens=2))
    run, more = TextRun(late, ["a", "b"]), TextRun(late, ["c"])
    async with opened(database_url) as store:
        engine = BurstEngine([opening, run, end, more], [usage])
        bursts = recorded(engine.stream(ask(), CALL), ask(), CALL, store)
        seen = [burst async for burst in bursts]
    assert seen == [[opening, run], [end, more, usage]]


async def test_what_is_stored_is_counted_whoever_waits_for_it(database_url: str) -> None:
    """Also where the caller is gone when it is there."""
    async with storing(database_url) as chat:
        async with aclosing(one_by_one(chat.stream(ask(store=True), CALL))) as chunks:
            async for chunk in chunks:
                if ends(chunk):
                    break
        assert chat.metrics.models["scripted"].outcomes == {"cancelled": 1}
        assert chat.metrics.stored == {"ok": await rows(database_url)} == {"ok": 1}


async def test_who_sees_the_end_can_have_the_completion(database_url: str) -> None:
    """Before anything else is read: many clients stop at the finish reason."""
    async with storing(database_url) as chat:
        request = ask(store=True, stream_options={"include_usage": True})
        async with aclosing(one_by_one(chat.stream(request, CALL))) as chunks:
            async for chunk in chunks:
                if ends(chunk):
                    assert await stored(chat, chunk.id) is not None
                    break
                assert await stored(chat, chunk.id) is None


async def test_an_answer_that_breaks_its_promise_is_told_but_for_its_end(
    database_url: str,
) -> None:
    request = ask(store=True, script={"content": "no JSON"})
    request.response_format.json_object.SetInParent()
    async with storing(database_url) as chat:
        seen: list[ChatCompletionChunk] = []
        with pytest.raises(errors.InvalidAnswer):
            await read(one_by_one(chat.stream(request, CALL)), seen)
    assert folded(seen).choices[0].message.content == "no JSON"
    assert not any(map(ends, seen))
    assert await rows(database_url) == 0


@pytest.mark.parametrize("script", [{"fail": "ENGINE_LOST"}, {"fail": "BUG", "fail_after": 2}])
async def test_what_fails_is_not_stored(database_url: str, script: dict[str, Any]) -> None:
    async with storing(database_url) as chat:
        with pytest.raises((errors.EngineLost, RuntimeError)):
            await chat.create(ask(store=True, script=script), CALL)
    assert await rows(database_url) == 0


async def test_what_is_abandoned_is_not_stored(database_url: str) -> None:
    async with storing(database_url) as chat:
        async with aclosing(chat.stream(ask("a b c", store=True), CALL)) as chunks:
            await anext(chunks)
        async with locked(database_url):
            creating = asyncio.ensure_future(chat.create(ask("a b c", store=True), CALL))
            _, waiting = await asyncio.wait((creating,), timeout=0.2)
            assert waiting
            creating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await creating
    assert await rows(database_url) == 0


async def test_what_cannot_be_stored_fails(database_url: str) -> None:
    """Its chunks have been seen by then, but not its end."""
    async with storing(database_url) as chat:
        await fill_up(database_url)
        with pytest.raises(errors.StoreUnavailable):
            await chat.create(ask(store=True), CALL)
        seen: list[ChatCompletionChunk] = []
        with pytest.raises(errors.StoreUnavailable):
            await read(one_by_one(chat.stream(ask("a b c", store=True), CALL)), seen)
        assert folded(seen).choices[0].message.content == "a b c"
        assert not any(map(ends, seen))
        assert (await chat.create(ask(), CALL)).id  # what is not to be stored goes on


async def test_a_database_that_goes_away_during_a_stream_fails_it(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        async with storing(url) as chat:
            stream = one_by_one(chat.stream(ask("a b c", store=True), CALL))
            async with aclosing(stream) as chunks:
                seen = [await anext(chunks)]
                postgres.stop()
                try:
                    with pytest.raises(errors.StoreUnavailable):
                        await read(chunks, seen)
                finally:
                    postgres.start()
            assert folded(seen).choices[0].message.content == "a b c"
            assert not any(map(ends, seen))
            again = await chat.create(ask(store=True), CALL)
            assert await stored(chat, again.id) is not None


async def test_a_deadline_bounds_the_wait_for_the_database(database_url: str) -> None:
    async with storing(database_url) as chat, locked(database_url):
        call = Call("req_test", "me", asyncio.get_running_loop().time() + 0.2)
        with pytest.raises(errors.DeadlineExceeded):
            await chat.create(ask(store=True), call)
    assert await rows(database_url) == 0


async def test_without_a_store_it_is_refused() -> None:
    async with scripted_service() as chat:
        request = ask(store=True)
        for asked in (chat.create(request, CALL), anext(chat.stream(request, CALL))):
            with pytest.raises(errors.UnsupportedParameter, match="does not store") as refused:
                await asked
            assert refused.value.field == "store"
        assert (await chat.create(ask(store=False), CALL)).id
        with pytest.raises(errors.NotImplementedYet, match="does not store"):
            await chat.stored.get(GetChatCompletionRequest(id="x"), CALL)


async def test_an_answer_that_breaks_its_promise_is_not_stored(database_url: str) -> None:
    request = ask(store=True, script={"content": "no JSON"})
    request.response_format.json_object.SetInParent()
    async with storing(database_url) as chat:
        with pytest.raises(errors.InvalidAnswer):
            await chat.create(request, CALL)
    assert await rows(database_url) == 0
