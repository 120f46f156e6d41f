"""Unary calls that another Diglot is asked for as such."""

from __future__ import annotations

import asyncio
import json

import pytest
from conformance.shapes import Shape, meaning, shapes
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from other_diglot import CALL, LONG, Recording, asking, chunks_of, other_diglot
from serving import ask

from diglot.burst import Burst
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.fold import Fold
from diglot.service.models import Models, ServedModel
from diglot.service.peer import Peer
from diglot.service.peer.whole import chunk_of
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.v1.chat_pb2 import AudioOptions, CreateChatCompletionRequest
from diglot.v1.completion_pb2 import ChatCompletion, Choice
from diglot.v1.message_pb2 import Message
from diglot.v1.model_pb2 import Model

UNARY = CALL.in_one_piece()


def folded(*bursts: Burst) -> ChatCompletion:
    whole = Fold()
    for burst in bursts:
        whole.add(burst)
    return whole.completion()


def of_an_upstream(answer: object) -> ChatCompletion:
    request = CreateChatCompletionRequest(top_logprobs=20)
    return folded([*ChunkReader(request).read_whole(json.dumps(answer).encode())])


@pytest.mark.parametrize(
    "shape", [each for each in shapes() if not each.fails], ids=lambda shape: shape.name
)
def test_what_any_vendor_answers_is_the_same_again(shape: Shape) -> None:
    told = of_an_upstream(meaning(shape))
    assert folded([chunk_of(told)]) == told


def test_so_is_everything_that_an_answer_can_say() -> None:
    said = {field.name for field in Message.DESCRIPTOR.fields}
    of_requests = {"parts", "name", "tool_call_id"}
    token = {"token": "R", "logprob": -0.5, "bytes": [82], "top_logprobs": [{"token": "S"}]}
    citation = {"start_index": 1, "end_index": 2, "url": "u", "title": "t", "own": 1}
    verdict = {"model": "mod", "results": [{"flagged": True, "categories": {"x": True}}]}
    message = {
        "role": "assistant",
        "content": "Rome.",
        "refusal": "No.",
        "reasoning_content": "Italy, so",
        "annotations": [{"type": "url_citation", "url_citation": citation}],
        "audio": {"id": "a", "data": "AAAA", "transcript": "Rome.", "expires_at": 5},
        "function_call": {"name": "f", "arguments": "{}"},
        "tool_calls": [
            {"id": "c", "function": {"name": "f", "arguments": "{}", "own": 1}, "signature": "s"},
            {"id": "d", "type": "custom", "custom": {"name": "g", "input": "x"}},
        ],
        "reasoning_details": [{"type": "reasoning.text", "text": "Italy, so"}],
    }
    choice = {
        "message": message,
        "finish_reason": "tool_calls",
        "logprobs": {"content": [token], "refusal": [token]},
        "stop_reason": "</s>",
    }
    answer = {
        "model": "real",
        "service_tier": "default",
        "system_fingerprint": "fp",
        "choices": [choice, choice | {"index": 1, "message": {"content": None}}],
        "usage": {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 1}},
        "moderation": {"input": verdict, "output": verdict},
        "kv_transfer_params": {"a": [1]},
    }
    told = of_an_upstream(answer)
    told.id, told.created = "chatcmpl-1", 7
    assert {field.name for field, _ in told.choices[0].message.ListFields()} == said - of_requests
    assert len(told.ListFields()) == len(ChatCompletion.DESCRIPTOR.fields) - 1  # no metadata
    assert len(told.choices[1].ListFields()) == len(Choice.DESCRIPTOR.fields)
    assert folded([chunk_of(told)]) == told


@given(st.binary(max_size=200))
def test_nothing_that_a_peer_can_say_is_a_bug_of_ours(data: bytes) -> None:
    told = ChatCompletion()
    try:
        told.ParseFromString(data)
    except DecodeError:
        return
    assert len(chunk_of(told).choices) == len(told.choices)


def always(target: str) -> Peer:
    return Peer(target, whole=True)


async def test_it_is_asked_for_the_whole_where_the_peer_says_so() -> None:
    engine = Recording()
    request = ask("a b", model="ours", n=2, logprobs=True, script={"reasoning": "hm"}, seed=3)
    async with other_diglot(engine) as peer:
        async with asking(always(peer.target)) as asks:
            [chunk] = await chunks_of(asks, request, UNARY)
            streamed = await chunks_of(asks, request)
        async with asking(peer.target) as asks:
            assert len(await chunks_of(asks, request, UNARY)) > 1
    assert [call.whole for _, call in engine.asked] == [True, False, False]
    assert [asked.HasField("stream_options") for asked, _ in engine.asked] == [False, True, True]
    whole, added_up = folded([chunk]), folded(streamed)
    for answer in (whole, added_up):
        answer.id, answer.created = "", 0
    assert whole == added_up
    assert whole.usage.completion_tokens > 0


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus", "pcm16"])
async def test_sound_that_no_stream_can_bring_is_asked_for_in_one_piece(form: str) -> None:
    """What is behind the peer refuses to stream it."""
    request = ask(
        model="ours",
        modalities=["text", "audio"],
        audio=AudioOptions(format=form, voice_name="v"),
    )
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        assert await chunks_of(asks, request, UNARY)
        assert await chunks_of(asks, request)
    assert [call.whole for _, call in engine.asked] == [form != "pcm16", False]


async def test_what_it_refuses_is_told_as_of_streams() -> None:
    error = errors.UpstreamRefused("r", field="x", details={"http_status": "422", "type": "t"})
    async with other_diglot(Recording(error)) as peer, asking(always(peer.target)) as asks:
        with pytest.raises(errors.UpstreamRefused) as caught:
            await chunks_of(asks, call=UNARY)
    assert (caught.value.message, caught.value.field, caught.value.details) == (
        error.message,
        error.field,
        error.details,
    )
    assert not caught.value.worked


async def test_what_it_worked_for_in_vain_is_not_for_us_to_repeat() -> None:
    """Nor for whoever lies between us and our caller."""
    script = {"tokens": 10, "fail": "ENGINE_LOST", "fail_after": 3}
    async with other_diglot() as peer, asking(always(peer.target)) as asks:
        with pytest.raises(errors.ChatError) as caught:
            await chunks_of(asks, ask(model="ours", script=script), UNARY)
        assert caught.value.worked
        chat = ChatService(Models([ServedModel(Model(id="ours"), asks)]))
        with pytest.raises(errors.ChatError) as caught:
            await chat.create(ask(model="ours", script=script), CALL)
        assert caught.value.worked


async def test_a_deadline_is_passed_on() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(always(peer.target)) as asks:
        now = asyncio.get_running_loop().time()
        soon = Call("req_test", "tester", now + 0.1, whole=True)
        with pytest.raises(errors.DeadlineExceeded):
            await chunks_of(asks, ask(model="ours", script=LONG), soon)
        ((_, call),) = engine.asked
        assert call.deadline is not None
        assert call.deadline < now + 1
        await engine.freed.wait()


async def test_whoever_leaves_frees_the_peers_model_and_is_accounted_nothing() -> None:
    engine = Recording()
    call = Call("req_test", "tester", whole=True)
    async with other_diglot(engine) as peer, asking(always(peer.target)) as asks:
        waiting = asyncio.ensure_future(chunks_of(asks, ask(model="ours", script=LONG), call))
        await engine.came.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await engine.freed.wait()
        assert engine.active == 0
    assert call.meter.usage() is None


async def test_closing_ends_calls_in_flight_with_an_error() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(always(peer.target)) as asks:
        waiting = asyncio.ensure_future(chunks_of(asks, ask(model="ours", script=LONG), UNARY))
        await engine.came.wait()
        await asks.close()
        with pytest.raises(errors.UpstreamUnavailable):
            await waiting
        await engine.freed.wait()


async def test_a_peer_that_goes_in_the_middle_is_an_error_not_an_end() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(always(peer.target)) as asks:
        waiting = asyncio.ensure_future(chunks_of(asks, ask(model="ours", script=LONG), UNARY))
        await engine.came.wait()
        stopping = asyncio.ensure_future(peer.server.stop(0))
        with pytest.raises(errors.Unavailable):
            await waiting
        await stopping
