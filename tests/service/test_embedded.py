"""The embedded engine with the real model: what is asked of it, and what it cannot do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from engines import one_by_one
from serving import ask

from diglot.burst import TextRun, chunks_of
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.capability import Capability
from diglot.service.chat import ChatService
from diglot.service.config import EmbeddedModel
from diglot.service.embedded.answer_form import AnswerForm
from diglot.service.embedded.engine import EmbeddedEngine
from diglot.service.embedded.llama import LlamaChunkReader, to_llama
from diglot.service.embedded.process import OwnProcess
from diglot.service.embedded.sampling import Sampling
from diglot.service.model_store import ModelStore
from diglot.service.models import Models, ServedModel
from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.model_pb2 import Model

CALL = Call("req_test", "tester")


@asynccontextmanager
async def embedded(model_path: Path) -> AsyncIterator[tuple[ChatService, EmbeddedEngine]]:
    settings = EmbeddedModel(
        kind="embedded",
        name="small",
        source="smollm2-135m-instruct",
        context_tokens=512,
        parallel=2,
        threads=1,
    )
    engine = EmbeddedEngine(settings, OwnProcess(settings, ModelStore(model_path.parent)))
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
        await _more_choices_than_slots(chat)
        await _a_bias_decides_on_a_token(chat)
        await _stop_strings_are_never_seen(chat)
        await _logprobs_as_many_as_asked(chat)
        await _too_long_a_prompt(chat)
        await _text_integrity(chat)
        await _cut_short_it_is_accounted_to_the_token(chat)


async def _same_seed_same_text(chat: ChatService) -> None:
    """Whole and streamed."""
    whole = await chat.create(asked(), CALL)
    again = await chat.create(asked(), CALL)
    chunks = [chunk async for chunk in one_by_one(chat.stream(asked(), CALL))]
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


async def _more_choices_than_slots(chat: ChatService) -> None:
    """In turns, each choice another one, and the same with the same seed."""
    request = asked(n=5, temperature=1, max_tokens=6)
    whole = await chat.create(request, CALL)
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == list(range(5))
    assert len(set(texts)) > 2
    spent = sum(6 for choice in whole.choices if choice.finish_reason == c.FINISH_REASON_LENGTH)
    assert spent <= whole.usage.completion_tokens <= 30
    chunks = [chunk async for chunk in one_by_one(chat.stream(request, CALL))]
    firsts = [choice.index for chunk in chunks for choice in chunk.choices if choice.delta.role]
    assert firsts == list(range(5))
    for index, text in enumerate(texts):
        said = [k.delta.content for chunk in chunks for k in chunk.choices if k.index == index]
        assert "".join(said) == text


async def _a_bias_decides_on_a_token(chat: ChatService) -> None:
    async def said(**biases: Any) -> str:
        answer = await chat.create(asked(temperature=0, max_tokens=2, **biases), CALL)
        return answer.choices[0].message.content

    plain, wanted = await said(), await said(logit_bias={1000: 100})
    assert wanted != plain
    assert wanted == wanted[: len(wanted) // 2] * 2, "nothing else"
    assert await said(logit_bias={1000: -100}) == plain


async def _stop_strings_are_never_seen(chat: ChatService) -> None:
    """Also not in part, and also across the borders of tokens."""
    whole = await chat.create(asked("Count to ten.", max_tokens=40, temperature=0), CALL)
    text = whole.choices[0].message.content
    stop = text[7:12]
    assert len(stop) == 5
    cut = await chat.create(asked("Count to ten.", max_tokens=40, temperature=0, stop=[stop]), CALL)
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == c.FINISH_REASON_STOP
    streamed = asked("Count to ten.", max_tokens=40, temperature=0, stop=["never", stop])
    chunks = [chunk async for chunk in one_by_one(chat.stream(streamed, CALL))]
    said = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
    assert said == text[: text.index(stop)]


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


async def _cut_short_it_is_accounted_to_the_token(chat: ChatService) -> None:
    """The prompt included. What llama.cpp holds back, as it may be a stop string's beginning,
    counts with the next piece that it lets go."""
    request = asked("Count to ten.", n=2, temperature=0, logprobs=True, max_tokens=40)
    whole = await chat.create(request, CALL)
    call = Call("req_cut", "tester")
    heard = 0
    async with aclosing(chat.stream(request, call)) as bursts:
        while heard < 9:
            for chunk in chunks_of(await anext(bursts)):
                heard += sum(len(choice.logprobs.content) for choice in chunk.choices)
    usage = call.meter.usage()
    assert usage is not None
    assert usage.completion_tokens == heard
    assert usage.prompt_tokens == whole.usage.prompt_tokens
    assert usage.total_tokens == usage.prompt_tokens + heard


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


def engine(tmp_path: Path, **settings: Any) -> EmbeddedEngine:
    """One that is not started: what it refuses, it refuses without a model."""
    model = EmbeddedModel(kind="embedded", name="small", **settings)
    return EmbeddedEngine(model, OwnProcess(model, ModelStore(tmp_path)))


def test_what_it_can_do_is_known_before_it_is_there(tmp_path: Path) -> None:
    assert engine(tmp_path).capabilities == {Capability.TOOLS}


BAD_SCHEMA = '{"type": "object", "properties": {"a": {"not": {}}}}'
BAD_GRAMMAR = {"syntax": "regex", "definition": "(?=a)b"}
UNENFORCEABLE: list[tuple[dict[str, Any], str, str]] = [
    (
        {"tools": [{"function": {"name": "f", "parameters_json": BAD_SCHEMA, "strict": True}}]},
        "tools[0].function.parameters_json",
        "function 'f': at '/properties/a/not'",
    ),
    (
        {
            "response_format": {
                "json_schema": {"name": "r", "schema_json": BAD_SCHEMA, "strict": True}
            }
        },
        "response_format.json_schema.schema_json",
        "response_format 'r': at '/properties/a/not'",
    ),
    (
        {"functions": [{"name": "g", "parameters_json": '{"type": "string"}'}]},
        "functions[0].parameters_json",
        "types that exclude each other",
    ),
    (
        {"tools": [{"custom": {"name": "c", "grammar": BAD_GRAMMAR}}]},
        "tools[0].custom.grammar.definition",
        "a lookaround at position 0",
    ),
]


@pytest.mark.parametrize(
    ("fields", "field", "says"), UNENFORCEABLE, ids=[u[1] for u in UNENFORCEABLE]
)
async def test_what_it_cannot_enforce_it_refuses_by_its_place(
    fields: dict[str, Any], field: str, says: str, tmp_path: Path
) -> None:
    """Before any work: also while it is not even there."""
    with pytest.raises(errors.InvalidRequest, match=re.escape(says)) as caught:
        engine(tmp_path).stream(ask(model="small", **fields), CALL)
    assert caught.value.field == field


async def test_without_strict_it_enforces_what_it_can(tmp_path: Path) -> None:
    """What is left is checked in the answer."""
    tool = {"function": {"name": "f", "parameters_json": BAD_SCHEMA}}
    with pytest.raises(errors.NotReady):
        engine(tmp_path).stream(ask(model="small", tools=[tool]), CALL)


def test_how_llama_is_asked() -> None:
    """OpenAI's defaults, seeds that it understands, and none of its keys that reach further."""
    body = to_llama(
        ask(seed=-1, logprobs=True, extra_json='{"top_k": 3, "id_slot": 1, "lora": [], "x": 1}'),
        AnswerForm(),
        None,
        Sampling(temperature=0.5, top_p=1, repeat_penalty=1, max_tokens=None),
    )
    assert body.pop("messages")
    assert body == {
        "temperature": 0.5,
        "top_p": 1,
        "seed": 2**32 - 2,
        "logprobs": True,
        "top_logprobs": 1,
        "top_k": 3,
        "return_progress": True,
        "timings_per_token": True,
    }


def test_usage_of_several_choices_is_summed() -> None:
    reader = LlamaChunkReader(CreateChatCompletionRequest(), "small")
    events = [
        b'{"choices":[{"index":1,"delta":{"content":"b"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}',
        b'{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}',
    ]
    chunks = [*chunks_of([*reader.read(events)]), *reader.end()]
    assert chunks[-1].usage == c.Usage(prompt_tokens=9, completion_tokens=5, total_tokens=14)


def told(content: str, predicted: int, *, last: bool = True) -> bytes:
    """A token's event, as llama.cpp writes it."""
    timings = {"cache_n": 4, "prompt_n": 5, "prompt_ms": 12.5, "predicted_n": predicted}
    choice = {"finish_reason": None, "index": 0, "delta": {"content": content}}
    event: dict[str, Any] = {"choices": [choice], "model": "x", "object": "chat.completion.chunk"}
    event = event | {"timings": timings} if last else {"timings": timings} | event
    return json.dumps(event, separators=(",", ":")).encode()


@pytest.mark.parametrize("last", [True, False])
def test_tokens_are_read_alike_and_counted_whatever_their_timings_are(last: bool) -> None:
    texts = ["Once", " upon", ' a "', ',"timings":{}}', " time"]
    reader = LlamaChunkReader(CreateChatCompletionRequest(), "small")
    said: list[ChatCompletionChunk | TextRun] = []
    for number, each in enumerate(texts, 1):
        said += reader.read([told(each, number, last=last)])

    assert any(isinstance(each, TextRun) for each in said) == last
    assert "".join(each.choices[0].delta.content for each in chunks_of(said)) == "".join(texts)
    usage = reader.delivered()
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 5, 14)
    assert usage.prompt_tokens_details.cached_tokens == 4


def test_timings_that_cannot_be_read_count_nothing() -> None:
    reader = LlamaChunkReader(CreateChatCompletionRequest(), "small")
    broken = told("a", 1).replace(b'"cache_n":4', b'"cache_n":,')
    assert list(chunks_of(list(reader.read([broken]))))
    assert reader.delivered() is None
