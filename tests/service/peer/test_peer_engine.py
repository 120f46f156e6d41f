"""A model of another Diglot: what is asked of it and what comes back, until somebody leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from other_diglot import CALL, LONG, OneKey, Recording, asking, chunks_of, other_diglot
from serving import ask

from diglot.burst import Burst
from diglot.service import errors
from diglot.service.call import Call
from diglot.service.peer import Peer
from diglot.service.scripted import ScriptedEngine
from diglot.v1.chat_pb2 import CreateChatCompletionRequest, StreamOptions
from diglot.v1.chunk_pb2 import ChatCompletionChunk


async def test_requests_and_chunks_pass_whole() -> None:
    """Under the peer's name for the model, and the id that the call has here."""
    request = ask("a b", model="ours", n=2, logprobs=True, script={"reasoning": "hm"})
    untouched = CreateChatCompletionRequest()
    untouched.CopyFrom(request)
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        chunks = await chunks_of(asks, request)
    ((asked, call),) = engine.asked
    assert request == untouched
    assert asked.stream_options == StreamOptions(include_usage=True)
    asked.ClearField("stream_options")
    asked.model = "ours"
    assert asked == untouched
    assert call.request_id == "req_test"
    assert call.deadline is None
    assert [choice.index for choice in chunks[0].choices] == [0]
    assert chunks[-1].usage.completion_tokens > 0
    assert not chunks[-1].choices
    assert sum(choice.HasField("finish_reason") for each in chunks for choice in each.choices) == 2


async def test_what_is_stored_and_padded_is_what_we_answer() -> None:
    """Not what the peer answered us. Where nothing is stored, metadata is the peer's to judge."""
    engine = Recording()
    padded = StreamOptions(include_obfuscation=True)
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        for store in (True, None):
            request = ask(model="ours", store=store, metadata={"k": "v"}, stream_options=padded)
            chunks = await chunks_of(asks, request)
            assert not any(chunk.HasField("obfuscation") for chunk in chunks)
    (stored, _), (silent, _) = engine.asked
    assert not stored.HasField("store")
    assert not stored.metadata
    assert silent.metadata == {"k": "v"}


async def test_its_key_is_shown_and_not_told() -> None:
    engine = Recording()
    async with other_diglot(engine, OneKey()) as peer:
        good = Peer(peer.target, api_key="sesame")
        assert "sesame" not in repr(good)
        async with asking(good) as asks:
            await chunks_of(asks)
        for bad in (Peer(peer.target), Peer(peer.target, api_key="wrong")):
            async with asking(bad) as asks:
                with pytest.raises(errors.UpstreamInvalid, match="this server's key"):
                    await chunks_of(asks)
    ((_, call),) = engine.asked
    assert call.caller == "k1"


async def test_a_deadline_is_passed_on() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        now = asyncio.get_running_loop().time()
        await chunks_of(asks, call=Call("req_test", "tester", now + 60))
        ((_, call),) = engine.asked
        assert call.deadline is not None
        assert now + 50 < call.deadline < now + 61
        soon = Call("req_test", "tester", asyncio.get_running_loop().time() + 0.1)
        with pytest.raises(errors.DeadlineExceeded):
            await chunks_of(asks, ask(model="ours", script=LONG), soon)
        gone = Call("req_test", "tester", now - 1)
        with pytest.raises(errors.DeadlineExceeded):
            await chunks_of(asks, call=gone)


async def test_whoever_leaves_frees_the_peers_model() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        async with aclosing(asks.stream(ask(model="ours", script=LONG), CALL)) as chunks:
            await anext(chunks)
        await engine.freed.wait()
        assert engine.active == 0


class Stalled(ScriptedEngine):
    """Says nothing: it queues, or reads the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.came, self.left = asyncio.Event(), asyncio.Event()

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        self.came.set()
        try:
            await asyncio.Event().wait()
            yield [ChatCompletionChunk()]
        finally:
            self.left.set()


async def test_whoever_leaves_before_the_first_chunk_does_so_too() -> None:
    engine = Stalled()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        waiting = asyncio.ensure_future(chunks_of(asks))
        await engine.came.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await engine.left.wait()


async def test_closing_ends_calls_in_flight_with_an_error() -> None:
    engine = Recording()
    async with other_diglot(engine) as peer, asking(peer.target) as asks:
        chunks = asks.stream(ask(model="ours", script=LONG), CALL)
        await anext(chunks)
        closing = asyncio.ensure_future(asks.close())
        with pytest.raises(errors.UpstreamUnavailable):
            async for _ in chunks:
                pass
        await closing
        await engine.freed.wait()
        assert not asks.readiness.ready
        with pytest.raises(errors.NotReady):
            asks.stream(ask(), CALL)


async def test_a_peer_that_goes_in_the_middle_is_an_error_not_an_end() -> None:
    async with other_diglot() as peer, asking(peer.target) as asks:
        chunks = asks.stream(ask(model="ours", script=LONG), CALL)
        await anext(chunks)
        stopping = asyncio.ensure_future(peer.server.stop(0))
        with pytest.raises(errors.Unavailable):
            async for _ in chunks:
                pass
        await stopping
