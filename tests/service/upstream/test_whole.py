"""Completions in one piece: what an upstream says in one is what its caller is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web
from conformance import plain
from conformance.shapes import Shape, meaning, shapes
from hypothesis import given
from hypothesis import strategies as st
from serving import ask

from diglot.facade.to_json import completion, dumps
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.fold import Fold
from diglot.service.upstream import Endpoint, UpstreamEngine, whole
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.v1.chat_pb2 import AudioOptions, CreateChatCompletionRequest
from diglot.v1.completion_pb2 import ChatCompletion
from diglot.v1.tool_pb2 import ToolChoice

Json = dict[str, Any]

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
PLAIN: Json = {"role": "assistant", "content": "Rome."}


def answering(*choices: Json, **more: Any) -> bytes:
    return json.dumps({"id": "x", "object": "chat.completion", "choices": choices} | more).encode()


def choice(message: Json, finish: str | None = "stop", **more: Any) -> Json:
    return {"message": message, "finish_reason": finish} | more


def called(*calls: Json, **message: Any) -> Json:
    return choice({"role": "assistant", "content": None, "tool_calls": calls} | message)


def read(body: bytes, request: CreateChatCompletionRequest | None = None) -> ChatCompletion:
    folded = Fold()
    folded.add([*ChunkReader(request or CreateChatCompletionRequest()).read_whole(body)])
    return folded.completion()


def said(body: bytes, request: CreateChatCompletionRequest | None = None) -> Json:
    """In OpenAI's JSON."""
    found: Json = json.loads(dumps(completion(read(body, request))))
    return found


# Everything that a completion can say, as OpenAI and others say it.
TOKEN = {"token": "R", "logprob": -0.5, "bytes": [82], "top_logprobs": []}
MODERATION = {
    "type": "moderation_results",
    "model": "mod",
    "results": [
        {
            "type": "moderation_result",
            "model": "mod",
            "flagged": False,
            "categories": {"x": False},
            "category_scores": {"x": 0.25},
            "category_applied_input_types": {"x": ["text"]},
        }
    ],
}
CITATION = {"start_index": 1, "end_index": 2, "url": "u", "title": "t", "own": 1}
EVERYTHING: Json = {
    "object": "chat.completion",
    "model": "real",
    "service_tier": "default",
    "system_fingerprint": "fp",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Rome.",
                "refusal": "No.",
                "reasoning_content": "Italy, so",
                "annotations": [{"type": "url_citation", "url_citation": CITATION}],
                "audio": {"id": "a", "data": "AAAA", "transcript": "Rome.", "expires_at": 5},
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1}', "own": [1]},
                        "signature": "s",
                    },
                    {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
                ],
                "reasoning_details": [{"type": "reasoning.text", "text": "Italy, so"}],
            },
            "logprobs": {"content": [TOKEN | {"own": 1}], "refusal": [TOKEN]},
            "finish_reason": "tool_calls",
            "stop_reason": "</s>",
        },
        {
            "index": 1,
            "message": {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "function_call": {"name": "f", "arguments": "{}"},
            },
            "logprobs": None,
            "finish_reason": "function_call",
        },
        {
            "index": 2,
            "message": {"role": "assistant", "content": None, "refusal": "No."},
            "logprobs": {"content": None, "refusal": [TOKEN]},
            "finish_reason": "content_filter",
        },
        {
            "index": 3,
            "message": {"role": "assistant", "content": None, "reasoning_content": "Hm"},
            "finish_reason": "length",
        },
        {
            "index": 4,
            "message": {"role": "assistant", "content": ""},
            "finish_reason": "stop",
        },
    ],
    "usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 2, "own": 1}, "cost": 0.5},
    "moderation": {"input": MODERATION, "output": MODERATION},
    "kv_transfer_params": {"a": [1]},
}


def without_nothing(value: Any) -> Any:
    """Without what says nothing: an empty list, and a null that is no content's."""
    if isinstance(value, dict):
        return {
            key: without_nothing(item)
            for key, item in value.items()
            if item not in (None, []) or key == "content"
        }
    return [without_nothing(item) for item in value] if isinstance(value, list) else value


def test_everything_that_an_upstream_says_is_said() -> None:
    """Each thing once, in its place, and nothing besides; a null content stays one."""
    found = said(json.dumps(EVERYTHING).encode())
    del found["id"], found["created"]
    assert without_nothing(found) == without_nothing(EVERYTHING)


@pytest.mark.parametrize(
    "shape", [each for each in shapes() if not each.fails], ids=lambda shape: shape.name
)
def test_a_vendors_answer_means_the_same_as_its_stream(shape: Shape) -> None:
    whole_answer = meaning(shape)
    asked = CreateChatCompletionRequest(top_logprobs=shape.asks.get("top_logprobs", 0))
    found = plain.from_contract(read(json.dumps(whole_answer).encode(), asked))
    assert plain.without_identity(found) == whole_answer


def test_calls_are_as_many_as_there_are() -> None:
    """Whatever they say of their ids and places: in streams those tell pieces apart."""
    same = {"id": "c", "index": 0, "function": {"name": "f", "arguments": "{}"}}
    [answer] = said(answering(called(same, same, {"function": {"name": "g"}})))["choices"]
    calls = answer["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["f", "f", "g"]
    assert [call["function"]["arguments"] for call in calls] == ["{}", "{}", "{}"]
    assert [call["id"] for call in calls[:2]] == ["c", "c"]
    assert len(calls[2]["id"]) > 20
    assert answer["finish_reason"] == "tool_calls"


FINISHES = [
    (choice(PLAIN, None), "stop"),
    (choice(PLAIN, ""), "stop"),
    (choice(PLAIN, "eos_token"), "stop"),
    (choice(PLAIN, "max_tokens"), "length"),
    (choice(PLAIN, "tool_calls"), "stop"),
    (choice(PLAIN, "content_filter"), "content_filter"),
    (called({"id": "c", "function": {"name": "f", "arguments": "{}"}}), "tool_calls"),
]


@pytest.mark.parametrize(("given", "reason"), FINISHES)
def test_why_it_ends_is_told_as_of_streams(given: Json, reason: str) -> None:
    assert said(answering(given))["choices"][0]["finish_reason"] == reason


def test_a_call_of_the_named_tool_is_a_stop() -> None:
    request = CreateChatCompletionRequest(tool_choice=ToolChoice(function_name="f"))
    answer = said(answering(called({"id": "c", "function": {"name": "f"}})), request)
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_choices_come_in_order_and_without_an_index_in_theirs() -> None:
    def texts(*choices: Json) -> list[str]:
        found = said(answering(*choices))["choices"]
        assert [each["index"] for each in found] == [*range(len(found))]
        return [each["message"]["content"] for each in found]

    a, b = ({"message": PLAIN | {"content": text}} for text in "ab")
    assert texts(b | {"index": 1}, a | {"index": 0}) == ["a", "b"]
    assert texts(a, b) == ["a", "b"]


def test_content_in_parts_is_text_and_thought() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "Rome."},
    ]
    message = said(answering(choice(PLAIN | {"content": parts})))["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Rome.", "Hm")


WRONG: list[tuple[bytes, type[errors.ChatError], str]] = [
    (b"", errors.UpstreamInvalid, "JSON"),
    (b"<html>", errors.UpstreamInvalid, "JSON"),
    (b'data: {"choices":[]}\n\n', errors.UpstreamInvalid, "JSON"),
    (b"[]", errors.UpstreamInvalid, "an object"),
    (b"{}", errors.UpstreamInvalid, "without an answer"),
    (answering(), errors.UpstreamInvalid, "without an answer"),
    (answering(choice(PLAIN))[:-1], errors.UpstreamUnavailable, "broke off"),
    (answering(choice(PLAIN))[:-30], errors.UpstreamUnavailable, "broke off"),
    (answering(choice(PLAIN)) + b"x", errors.UpstreamInvalid, "JSON"),
    (b'{"error":{"message":"no","code":400}}', errors.UpstreamRefused, "no"),
    (b'{"error":{"message":"busy","code":503},"choices":[{}]}', errors.UpstreamUnavailable, "not"),
    (answering({"index": 0, "text": "a"}), errors.UpstreamInvalid, "without a message"),
    (answering({"index": 0, "message": "a"}), errors.UpstreamInvalid, "without a message"),
    (answering(choice(PLAIN, index=-1)), errors.UpstreamInvalid, "impossible index"),
    (answering(choice(PLAIN, index=1)), errors.UpstreamInvalid, "impossible index"),
    (answering(choice(PLAIN, index="0")), errors.UpstreamInvalid, "impossible index"),
    (answering(*[choice(PLAIN, index=0)] * 2), errors.UpstreamInvalid, "impossible index"),
    (answering(*[choice(PLAIN)] * 129), errors.UpstreamInvalid, "impossible index"),
    (answering(choice(PLAIN, "abort")), errors.UpstreamUnavailable, "gave up"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "words"), WRONG)
def test_what_is_no_answer_is_an_error(
    body: bytes, kind: type[errors.ChatError], words: str
) -> None:
    with pytest.raises(errors.ChatError, match=words) as caught:
        read(body)
    assert type(caught.value) is kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = sorted({*EVERYTHING, *EVERYTHING["choices"][0], *EVERYTHING["choices"][0]["message"]})


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_garbage_ends_in_an_error_of_ours(message: Json, beside: Json) -> None:
    body = {"choices": [beside | {"message": message}]} | beside
    with suppress(errors.ChatError):
        said(json.dumps(body).encode())


# From here on over sockets.

CALL = Call(request_id="req_test", caller="tester")
ANSWER = answering(choice(PLAIN), model="real", usage=USAGE)


@asynccontextmanager
async def upstream(
    *bodies: bytes, endpoint: Json | None = None, encoding: str = "identity"
) -> AsyncIterator[tuple[UpstreamEngine, list[Json]]]:
    """What it was asked; it says the bodies, one after the other, whatever it was asked."""
    seen: list[Json] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await request.json())
        body = bodies[len(seen) - 1]
        kind = {"Content-Type": "text/event-stream" if body[:1] == b"d" else "application/json"}
        return web.Response(body=body, headers=kind | {"Content-Encoding": encoding})

    async with serving(handler, endpoint) as engine:
        yield engine, seen


@asynccontextmanager
async def serving(handler: Any, endpoint: Json | None = None) -> AsyncIterator[UpstreamEngine]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    engine = UpstreamEngine(Endpoint(base_url, **endpoint or {"whole": True}), "real-model")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
        await runner.cleanup()


async def whole_of(
    engine: UpstreamEngine, request: CreateChatCompletionRequest, call: Call = CALL
) -> ChatCompletion:
    """As a unary call asks for it."""
    folded = Fold()
    async for burst in engine.stream(request, call.in_one_piece()):
        folded.add(burst)
    return folded.completion()


async def test_it_is_asked_for_the_whole_and_for_nothing_else() -> None:
    async with upstream(ANSWER, ANSWER) as (engine, seen):
        for _ in range(2):
            answer = await whole_of(engine, ask())
            assert answer.choices[0].message.content == "Rome."
            assert (answer.model, answer.usage.total_tokens) == ("real", 5)
    assert seen == 2 * [
        {"model": "real-model", "messages": [{"role": "user", "content": "hello there world"}]}
    ]


STREAMED = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'


async def test_a_stream_is_never_asked_for_in_one_piece() -> None:
    async with upstream(STREAMED) as (engine, seen):
        assert [burst async for burst in engine.stream(ask(), CALL)]
    assert seen[0]["stream"] is True


async def test_nor_is_a_unary_call_where_nothing_says_so() -> None:
    async with upstream(STREAMED, endpoint={"continuous_usage": True}) as (engine, seen):
        assert (await whole_of(engine, ask())).choices[0].message.content == "hi"
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert (seen[0]["stream"], seen[0]["stream_options"]) == (True, options)


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus"])
async def test_sound_that_no_stream_can_bring_is_asked_for_in_one_piece(form: str) -> None:
    """OpenAI refuses to stream it; and streams, which are for who asks for them, it may refuse."""
    sound = {"role": "assistant", "content": None, "audio": {"id": "a", "data": "UklGRg=="}}
    request = ask(modalities=["text", "audio"], audio=AudioOptions(format=form, voice_name="v"))
    async with upstream(
        answering(choice(sound)), STREAMED, endpoint={"continuous_usage": True}
    ) as (engine, seen):
        answer = await whole_of(engine, request)
        assert [burst async for burst in engine.stream(request, CALL)]
    message = answer.choices[0].message
    assert (message.audio.data, message.HasField("content")) == ("UklGRg==", False)
    assert not {"stream", "stream_options"} & seen[0].keys()
    assert seen[1]["stream"] is True


async def test_sound_that_a_stream_can_bring_is_streamed() -> None:
    request = ask(modalities=["text", "audio"], audio=AudioOptions(format="pcm16", voice_name="v"))
    async with upstream(STREAMED, endpoint={"continuous_usage": True}) as (engine, seen):
        await whole_of(engine, request)
    assert seen[0]["stream"] is True


async def test_an_answer_that_is_compressed_unasked_is_refused() -> None:
    async with upstream(ANSWER, encoding="br") as (engine, _):
        with pytest.raises(errors.UpstreamInvalid, match="compressed"):
            await whole_of(engine, ask())


async def test_an_answer_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diglot.service.upstream.exchange.LONGEST", len(ANSWER))
    async with upstream(ANSWER, ANSWER + b" ") as (engine, _):
        assert (await whole_of(engine, ask())).choices
        with pytest.raises(errors.UpstreamInvalid, match="too long"):
            await whole_of(engine, ask())
    assert whole.LONGEST == 32 * 2**20


async def test_what_is_refused_is_told_as_of_streams() -> None:
    async def refuse(request: web.Request) -> web.Response:
        error = {"message": "slow down"}
        return web.json_response({"error": error}, status=429, headers={"Retry-After": "7"})

    async with serving(refuse) as engine:
        with pytest.raises(errors.RateLimited, match="slow down") as caught:
            await whole_of(engine, ask())
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("length", [False, True], ids=["ended by the connection", "of a length"])
async def test_an_answer_that_breaks_off_is_none(length: bool) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        head = f"Content-Length: {len(ANSWER)}\r\n" if length else ""
        request.transport.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + ANSWER[:60])
        request.transport.close()
        raise asyncio.CancelledError

    async with serving(break_off) as engine:
        with pytest.raises(errors.UpstreamUnavailable, match="broke off"):
            await whole_of(engine, ask())


async def test_a_caller_who_leaves_ends_it_and_nothing_was_delivered() -> None:
    came, left = asyncio.Event(), asyncio.Event()

    async def work(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(ANSWER[:60])
        came.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            left.set()
        return response

    call = Call(request_id="req_test", caller="tester")
    async with serving(work) as engine:
        asking = asyncio.ensure_future(whole_of(engine, ask(), call))
        await came.wait()
        asking.cancel()
        await left.wait()
        with suppress(asyncio.CancelledError):
            await asking
    assert call.meter.usage() is None


async def test_a_server_that_closes_ends_it() -> None:
    came = asyncio.Event()

    async def work(request: web.Request) -> web.StreamResponse:
        came.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with serving(work) as engine:
        asking = asyncio.ensure_future(whole_of(engine, ask()))
        await came.wait()
        await engine.close()
        with pytest.raises(errors.UpstreamUnavailable):
            await asking


@pytest.mark.parametrize(("usage", "tokens"), [(USAGE, 2), (None, None)])
async def test_what_it_spent_is_what_it_says(usage: Json | None, tokens: int | None) -> None:
    """Of a stream's answer that does not say so, events are counted; here there is but one."""
    call = Call(request_id="req_test", caller="tester")
    async with (
        upstream(answering(choice(PLAIN), usage=usage)) as (engine, _),
        aclosing(engine.stream(ask(), call.in_one_piece())) as bursts,
    ):
        assert await anext(bursts)
    spent = call.meter.usage()
    assert (spent and spent.completion_tokens) == tokens
