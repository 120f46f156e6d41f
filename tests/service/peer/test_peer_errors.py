"""Errors of another Diglot, which are our callers' too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from engines import one_by_one
from other_diglot import CALL, Recording, asking, chunks_of, other_diglot
from serving import ask

from diglot.service import errors
from diglot.service.call import Call
from diglot.service.peer import Peer, PeerEngine
from diglot.v1.chunk_pb2 import ChatCompletionChunk

ERRORS: list[errors.ChatError] = [
    errors.MissingValue("m", field="messages[0].content"),
    errors.InvalidValue("v", field="temperature"),
    errors.UnsupportedParameter("p", field="seed"),
    errors.UnsupportedValue("v", field="n"),
    errors.InvalidSchema("s", field="tools[0].function.parameters_json"),
    errors.ContextLengthExceeded(10, 99),
    errors.UpstreamRefused("r", field="x", details={"http_status": "422", "type": "t"}),
    errors.NotFound("n"),
    errors.NotImplementedYet("n"),
    errors.RateLimited("slow", retry_after=7),
    errors.NotReady("n", retry_after=1.5),
    errors.ShuttingDown("s"),
    errors.EngineLost("e", retry_after=1),
    errors.UpstreamUnavailable("u"),
    errors.StoreUnavailable("s"),
    errors.UpstreamInvalid("u"),
    errors.InvalidAnswer("a"),
    errors.DeadlineExceeded(),
]


@pytest.mark.parametrize("error", ERRORS, ids=errors.name_of)
async def test_a_refusal_is_the_very_error_that_the_peer_raised(error: errors.ChatError) -> None:
    async with other_diglot(Recording(error)) as peer, asking(peer.target) as asks:
        with pytest.raises(errors.ChatError) as caught:
            await chunks_of(asks)
    same = caught.value
    assert type(same) is type(error)
    assert (same.message, same.field, same.retry_after, same.details) == (
        error.message,
        error.field,
        error.retry_after,
        error.details,
    )


async def test_what_the_peer_says_of_us_is_not_our_callers() -> None:
    """A bug there is no bug here; and our caller's name for the model is the one it knows."""
    async with other_diglot(Recording(RuntimeError("secret"))) as peer, asking(peer.target) as asks:
        with pytest.raises(errors.UpstreamInvalid, match="failed"):
            await chunks_of(asks)
        stranger = PeerEngine(Peer(peer.target), "no-such-model")
        await stranger.start()
        try:
            with pytest.raises(errors.ModelNotFound, match="'ours'"):
                await chunks_of(stranger)
        finally:
            await stranger.close()


async def hear(chunks: AsyncIterator[ChatCompletionChunk], said: list[ChatCompletionChunk]) -> None:
    async for chunk in chunks:
        said.append(chunk)  # noqa: PERF401  # a list made at once is lost when it fails


async def test_an_error_in_the_middle_comes_after_what_was_said() -> None:
    script = {"fail": "RATE_LIMIT_EXCEEDED", "fail_after": 2}
    async with other_diglot() as peer, asking(peer.target) as asks:
        said: list[ChatCompletionChunk] = []
        with pytest.raises(errors.RateLimited):
            await hear(one_by_one(asks.stream(ask(model="ours", script=script), CALL)), said)
    assert "".join(chunk.choices[0].delta.content for chunk in said) == "hello there"


async def test_text_that_came_merged_is_counted_token_by_token() -> None:
    """What failed before its end is accounted with what was delivered of it."""
    call = Call(request_id="req_test", caller="tester")
    script = {"tokens": 100, "fail": "ENGINE_LOST", "fail_after": 90}
    said: list[ChatCompletionChunk] = []
    async with other_diglot() as peer, asking(peer.target) as asks:
        with pytest.raises(errors.EngineLost):
            await hear(one_by_one(asks.stream(ask(model="ours", script=script), call)), said)
    assert len(said) < 90, "nothing was merged"
    usage = call.meter.usage()
    assert usage is not None
    assert usage.completion_tokens == 90
    assert not any(chunk.HasField("merged_chunks") for chunk in said)
