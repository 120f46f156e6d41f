"""The embedded engine with the real model: what is asked of it, and what it cannot do."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from serving import ask

from diglot.service import errors
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.config import EmbeddedModel
from diglot.service.embedded.capabilities import ROWS
from diglot.service.embedded.engine import EmbeddedEngine, LlamaChunkReader, to_llama
from diglot.service.model_store import ModelStore
from diglot.service.models import Models, ServedModel
from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.model_pb2 import Model

CALL = Call("req_test", "tester")


@asynccontextmanager
async def embedded(model_path: Path) -> AsyncIterator[tuple[ChatService, EmbeddedEngine]]:
    settings = EmbeddedModel(
        kind="embedded",
        name="small",
        source=str(model_path),
        context_tokens=512,
        parallel=2,
        threads=1,
    )
    engine = EmbeddedEngine(settings, ModelStore(model_path.parent))
    try:
        await engine.start()
        await engine.readiness.wait()
        yield ChatService(Models([ServedModel(Model(id="small"), engine)])), engine
    finally:
        await engine.close()


def asked(content: str = "Say hello.", **fields: Any) -> CreateChatCompletionRequest:
    return ask(content, model="small", **({"max_tokens": 12, "seed": 7} | fields))


async def test_it_answers_as_openai_would(model_path: Path) -> None:
    """One model for several looks at it: loading takes its time."""
    async with embedded(model_path) as (chat, _):
        await _same_seed_same_text(chat)
        await _every_choice_counts(chat)
        await _logprobs_as_many_as_asked(chat)
        await _too_long_a_prompt(chat)
        await _text_integrity(chat)


async def _same_seed_same_text(chat: ChatService) -> None:
    """Whole and streamed."""
    whole = await chat.create(asked(), CALL)
    again = await chat.create(asked(), CALL)
    chunks = [chunk async for chunk in chat.stream(asked(), CALL)]
    text = whole.choices[0].message.content
    assert text
    assert text == again.choices[0].message.content
    assert text == "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
    assert {chunk.model for chunk in chunks} == {whole.model} == {"small"}
    assert not any(chunk.HasField("usage") for chunk in chunks)


async def _every_choice_counts(chat: ChatService) -> None:
    whole = await chat.create(asked(n=2, max_tokens=5, extra_json='{"ignore_eos": true}'), CALL)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert all(choice.finish_reason == c.FINISH_REASON_LENGTH for choice in whole.choices)
    assert whole.usage.completion_tokens == 10
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 10


async def _logprobs_as_many_as_asked(chat: ChatService) -> None:
    for likely in (0, 3):
        whole = await chat.create(asked(logprobs=True, top_logprobs=likely, max_tokens=4), CALL)
        tokens = whole.choices[0].logprobs.content
        assert 1 <= len(tokens) <= 4
        assert all(len(token.top_logprobs) == likely for token in tokens)
        said = b"".join(token.bytes for token in tokens).decode()
        assert said.startswith(whole.choices[0].message.content)


async def _too_long_a_prompt(chat: ChatService) -> None:
    with pytest.raises(errors.ContextLengthExceeded, match="maximum context length is 512 tokens"):
        await chat.create(asked("hello " * 2000), CALL)


async def _text_integrity(chat: ChatService) -> None:
    whole = await chat.create(asked("Repeat: 😀😃😄🎉", max_tokens=24), CALL)
    whole.SerializeToString()
    assert "�" not in whole.choices[0].message.content


async def test_killed_in_the_middle_its_calls_end_at_once_and_it_comes_back(
    model_path: Path,
) -> None:
    """Streamed and whole: a clear error that says to try again, and then it works again."""
    async with embedded(model_path) as (chat, engine):
        long = asked(max_tokens=400, extra_json='{"ignore_eos": true}')
        stream = chat.stream(long, CALL)
        await anext(stream)
        whole = asyncio.ensure_future(chat.create(long, CALL))
        for _ in range(3):
            await anext(stream)
        assert engine.child_pid is not None
        os.kill(engine.child_pid, signal.SIGKILL)
        with pytest.raises(errors.EngineLost) as streamed:
            async for _ in stream:
                pass
        with pytest.raises(errors.EngineLost):
            await whole
        assert streamed.value.retry_after
        while engine.readiness.ready:
            await asyncio.sleep(0)
        with pytest.raises(errors.NotReady, match="SIGKILL"):
            await chat.create(asked(), CALL)
        await engine.readiness.wait()
        assert (await chat.create(asked(), CALL)).choices[0].message.content


async def test_a_caller_who_leaves_frees_its_slot(model_path: Path) -> None:
    """While it generates, and while it reads a long prompt: the next one has its turn."""
    async with embedded(model_path) as (chat, _):
        endless = asked(max_tokens=450, extra_json='{"ignore_eos": true}')
        for _ in range(4):  # twice as many as there are slots
            stream = chat.stream(endless, CALL)
            await anext(stream)
            await stream.aclose()
        for _ in range(4):
            reading = asyncio.ensure_future(chat.create(asked("word " * 450), CALL))
            await asyncio.sleep(0.01)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        async with asyncio.timeout(20):
            assert (await chat.create(asked(), CALL)).choices


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"function": {"name": "f"}}]}, "tools"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"modalities": ["text", "audio"], "audio": {"format": "wav"}}, "modalities"),
    ({"audio": {"format": "wav"}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"moderation": {"model": "m"}}, "moderation"),
    ({"prediction": {"content": "x"}}, "prediction"),
    ({"store": True}, "store"),
    ({"reasoning_effort": "low"}, "reasoning_effort"),
    ({"verbosity": "low"}, "verbosity"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"n": 3}, "n"),
]


def test_every_row_is_tried() -> None:
    assert {row[0] for row in ROWS} <= {field for _, field in REFUSED}


@pytest.mark.parametrize(("fields", "field"), REFUSED, ids=[row[1] for row in REFUSED])
async def test_what_it_cannot_do_it_refuses_by_name(
    fields: dict[str, Any], field: str, tmp_path: Path
) -> None:
    """Before any work: also while it is not even there."""
    settings = EmbeddedModel(kind="embedded", name="small", parallel=2)
    engine = EmbeddedEngine(settings, ModelStore(tmp_path))
    with pytest.raises(errors.InvalidRequest) as caught:
        engine.stream(ask(model="small", **fields), CALL)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "fields", [{"tools": [{"function": {"name": "f"}}], "tool_choice": {"mode": 1}}, {"n": 2}]
)
async def test_what_it_can_do_is_not_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    settings = EmbeddedModel(kind="embedded", name="small", parallel=2)
    engine = EmbeddedEngine(settings, ModelStore(tmp_path))
    with pytest.raises(errors.NotReady):
        engine.stream(ask(model="small", **fields), CALL)


async def test_an_image_is_refused_by_its_place(tmp_path: Path) -> None:
    engine = EmbeddedEngine(EmbeddedModel(kind="embedded", name="small"), ModelStore(tmp_path))
    request = ask(model="small")
    request.messages[0].ClearField("content")
    request.messages[0].parts.add().text.text = "look"
    request.messages[0].parts.add().image_url.url = "data:,"
    with pytest.raises(errors.UnsupportedValue, match="images") as caught:
        engine.stream(request, CALL)
    assert caught.value.field == "messages[0].parts[1]"


def test_how_llama_is_asked() -> None:
    """OpenAI's defaults, seeds that it understands, and none of its keys that reach further."""
    body = to_llama(
        ask(seed=-1, logprobs=True, extra_json='{"top_k": 3, "id_slot": 1, "lora": [], "x": 1}'),
        temperature=0.5,
        top_p=1,
    )
    assert body.pop("messages")
    assert body == {
        "model": "scripted",
        "temperature": 0.5,
        "top_p": 1,
        "seed": 2**32 - 2,
        "logprobs": True,
        "top_logprobs": 1,
        "top_k": 3,
        "return_progress": True,
    }


def test_what_the_request_says_wins() -> None:
    body = to_llama(ask(temperature=0, top_p=0.1), temperature=0.5, top_p=1)
    assert (body["temperature"], body["top_p"]) == (0, 0.1)


def test_usage_of_several_choices_is_summed() -> None:
    reader = LlamaChunkReader(CreateChatCompletionRequest(), "small")
    events = [
        b'{"choices":[{"index":1,"delta":{"content":"b"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}',
        b'{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}',
    ]
    chunks = [chunk for event in events for chunk in reader.read(event)] + list(reader.end())
    assert chunks[-1].usage == c.Usage(prompt_tokens=9, completion_tokens=5, total_tokens=14)
