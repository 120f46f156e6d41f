"""The core over the scripted engine: what every face builds on."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import Any

import pytest
from engines import one_by_one
from serving import ask, scripted_service

from diglot.service import errors
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.fold import Fold
from diglot.v1 import completion_pb2 as c
from diglot.v1.chunk_pb2 import ChatCompletionChunk

CALL = Call(request_id="req_test", caller="tester")


async def collect(chat: ChatService, **fields: Any) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in one_by_one(chat.stream(ask(**fields), CALL))]


async def test_unary_is_the_fold_of_the_stream() -> None:
    """Field by field, but for the id and the time, which are each call's own."""
    script = {"content": "one two three", "reasoning": "hm hm", "tool_calls": [{"name": "f"}]}
    async with scripted_service() as chat:
        whole = await chat.create(ask(script=script, n=3, logprobs=True), CALL)
        fold = Fold()
        for chunk in await collect(
            chat, script=script, n=3, logprobs=True, stream_options={"include_usage": True}
        ):
            fold.add([chunk])
    folded = fold.completion()
    assert whole.id != folded.id
    whole.ClearField("id")
    folded.ClearField("id")
    whole.ClearField("created")
    folded.ClearField("created")
    assert whole == folded
    assert [choice.message.content for choice in whole.choices] == ["one two three"] * 3


async def test_every_chunk_has_the_same_id_time_and_model() -> None:
    async with scripted_service() as chat:
        chunks = await collect(chat, content="a b c")
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")
    assert len(chunks[0].id) == len("chatcmpl-") + 29
    assert chunks[0].model == "scripted"


async def test_usage_comes_last_alone_and_only_if_asked() -> None:
    async with scripted_service() as chat:
        without = await collect(chat, content="a b c")
        with_usage = await collect(chat, content="a b c", stream_options={"include_usage": True})
    assert not any(chunk.HasField("usage") for chunk in without)
    assert [chunk.HasField("usage") for chunk in with_usage[:-1]] == [False] * len(without)
    last = with_usage[-1]
    assert not last.choices
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 3)
    assert last.usage.total_tokens == 6


async def test_obfuscation_only_if_asked() -> None:
    async with scripted_service() as chat:
        plain = await collect(chat, content="a b")
        padded = await collect(chat, content="a b", stream_options={"include_obfuscation": True})
    assert not any(chunk.HasField("obfuscation") for chunk in plain)
    assert all(chunk.HasField("obfuscation") for chunk in padded)
    assert all(len(chunk.obfuscation) <= 15 for chunk in padded)


async def test_stream_options_are_refused_on_create() -> None:
    async with scripted_service() as chat:
        with pytest.raises(errors.InvalidValue) as caught:
            await chat.create(ask(stream_options={"include_usage": True}), CALL)
    assert caught.value.field == "stream_options"


async def test_an_unknown_model_is_named() -> None:
    async with scripted_service() as chat:
        with pytest.raises(errors.ModelNotFound, match="'nope' does not exist") as caught:
            await chat.create(ask(model="nope"), CALL)
    assert caught.value.field == "model"


async def test_a_deadline_ends_a_stream_that_waits() -> None:
    """What was delivered before it stays delivered; the engine is free again."""
    async with scripted_service() as chat:
        deadline = asyncio.get_running_loop().time() + 0.2
        call = Call("req_test", "tester", deadline)
        request = ask(script={"content": "a b", "interval_ms": 600_000})
        chunks = chat.stream(request, call)
        await anext(chunks)
        with pytest.raises(errors.DeadlineExceeded):
            await anext(chunks)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        assert chat.engine.active == 0


async def test_a_deadline_that_passes_while_the_consumer_is_busy_strikes_at_the_next_wait() -> None:
    async with scripted_service() as chat:
        loop = asyncio.get_running_loop()
        call = Call("req_test", "tester", loop.time() + 0.2)
        passed = asyncio.Event()
        loop.call_later(0.21, passed.set)
        async with aclosing(chat.stream(ask(content="a b"), call)) as chunks:
            await anext(chunks)
            await passed.wait()  # not cancelled: the wait is the consumer's own
            with pytest.raises(errors.DeadlineExceeded):
                await anext(chunks)


async def test_an_engine_is_freed_when_its_caller_leaves() -> None:
    async with scripted_service() as chat:
        chunks = chat.stream(ask(script={"interval_ms": 600_000}), CALL)
        await anext(chunks)
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        assert chat.engine.active == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert chat.engine.active == 0


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ({}, "ok"),
        ({"fail": "ENGINE_LOST"}, "engine_lost"),
        ({"fail": "ENGINE_LOST", "fail_after": 1}, "engine_lost"),
        ({"fail": "BUG"}, "internal"),
    ],
)
async def test_each_call_is_accounted_once_however_it_ends(
    script: dict[str, object], outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "diglot.chat")
    async with scripted_service() as chat:
        with suppress(errors.ChatError, RuntimeError):
            await chat.create(ask(script=script), CALL)
    (record,) = caplog.records
    assert vars(record)["outcome"] == outcome
    assert vars(record)["request_id"] == "req_test"
    assert "hello" not in caplog.text


async def test_a_call_whose_caller_left_is_accounted_as_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "diglot.chat")
    async with scripted_service() as chat, aclosing(chat.stream(ask(), CALL)) as chunks:
        await anext(chunks)
    assert [vars(record)["outcome"] for record in caplog.records] == ["cancelled"]


async def test_finish_reasons() -> None:
    async with scripted_service() as chat:
        stopped = await chat.create(ask(content="a b c"), CALL)
        cut = await chat.create(ask(content="a b c", max_tokens=2), CALL)
        called = await chat.create(ask(script={"tool_calls": [{"name": "f"}]}), CALL)
    assert stopped.choices[0].finish_reason == c.FINISH_REASON_STOP
    assert cut.choices[0].finish_reason == c.FINISH_REASON_LENGTH
    assert cut.choices[0].message.content == "a b"
    assert called.choices[0].finish_reason == c.FINISH_REASON_TOOL_CALLS
    assert not called.choices[0].message.HasField("content")
