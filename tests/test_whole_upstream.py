"""Upstreams that are asked for unary answers in one piece: what callers see, and what is accounted,
where something goes wrong. Nothing is delivered before all of it is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from account_log import AccountLog, account_log
from faces import GRPC, HTTP, Faces, Seen, faces
from faulty_upstream import Behaviour, Exchange, FaultyUpstream, head, saying, upstream

NAME = "the-call"
NAMED: dict[str, Any] = {"headers": {"x-request-id": NAME}}
SOON = 0.4
"""Seconds, for what is to run into a timeout."""

on_each_face = pytest.mark.parametrize("face", [HTTP, GRPC])


def answer(text: str, model: str = "good") -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 4, "completion_tokens": 7, "total_tokens": 11}
    return json.dumps({"model": model, "choices": [choice], "usage": usage}).encode()


async def begin(exchange: Exchange) -> None:
    """Says that the answer comes, and half of it."""
    body = answer("well said")
    length = f"Content-Length: {len(body)}\r\n"
    await exchange.send(head("200 OK", "application/json", length), body[: len(body) // 2])


async def well(exchange: Exchange) -> None:
    body = answer("well said")
    length = f"Content-Length: {len(body)}\r\n"
    await exchange.send(head("200 OK", "application/json", length), body)


async def silence(exchange: Exchange) -> None:
    await exchange.gone()


async def half(exchange: Exchange) -> None:
    await begin(exchange)
    await exchange.gone()


async def half_and_reset(exchange: Exchange) -> None:
    await begin(exchange)
    exchange.reset()


def place(base_url: str, weight: float = 1, more: str = "") -> str:
    return f"""
        [[models.deployments]]
        kind = "upstream"
        base_url = "{base_url}"
        unary = "whole"
        weight = {weight}
        {more}
        """


@asynccontextmanager
async def asked(
    directory: Path, behave: Behaviour, more: str = ""
) -> AsyncIterator[tuple[Faces, FaultyUpstream, AccountLog]]:
    async with upstream(behave) as there:
        config = '[[models]]\nname = "m"\nmax_running = 1\n' + place(there.base_url, more=more)
        with account_log() as log:
            async with faces(directory, config) as both:
                yield both, there, log


async def serves_the_next(both: Faces, there: FaultyUpstream) -> None:
    """There is but one place."""
    there.behave = well
    for face in (HTTP, GRPC):
        assert (await both.ask(face, stream=False)).text == "well said"


@asynccontextmanager
async def given_up(
    directory: Path, behave: Behaviour, outcome: str
) -> AsyncIterator[tuple[Faces, asyncio.Event]]:
    """Where a caller is to give up, and whether the upstream has heard of the call. The upstream
    then learns of the end, no tokens are accounted, and the place is free."""
    begun, gone = asyncio.Event(), asyncio.Event()

    async def behaving(exchange: Exchange) -> None:
        begun.set()
        await behave(exchange)
        gone.set()

    async with asked(directory, behaving) as (both, there, log):
        yield both, begun
        await gone.wait()
        line = await log.line(NAME)
        assert line["outcome"] == outcome
        assert "completion_tokens" not in line
        await serves_the_next(both, there)


@on_each_face
async def test_a_unary_call_is_asked_for_in_one_piece_and_a_stream_is_not(
    face: str, tmp_path: Path
) -> None:
    async with asked(tmp_path, well) as (both, there, log):
        seen = await both.ask(face, stream=False, **NAMED)
        assert (seen.text, seen.model, seen.ended) == ("well said", "good", True)
        there.behave = saying("well", " streamed")
        assert (await both.ask(face, stream=True)).text == "well streamed"
    unary, streamed = there.exchanges
    assert not {"stream", "stream_options"} & unary.body.keys()
    assert streamed.body["stream"] is True
    line = await log.line(NAME)
    assert (line["outcome"], line["prompt_tokens"], line["completion_tokens"]) == ("ok", 4, 7)


@on_each_face
@pytest.mark.parametrize("behave", [silence, half])
async def test_a_caller_who_leaves_closes_it_and_is_accounted_nothing(
    behave: Behaviour, face: str, tmp_path: Path
) -> None:
    async with given_up(tmp_path, behave, "cancelled") as (both, begun):
        asking = asyncio.ensure_future(both.ask(face, stream=False, **NAMED))
        await begun.wait()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


@on_each_face
@pytest.mark.parametrize("behave", [silence, half])
async def test_a_deadline_that_passes_closes_it_and_is_accounted_nothing(
    behave: Behaviour, face: str, tmp_path: Path
) -> None:
    async with given_up(tmp_path, behave, "deadline_exceeded") as (both, _):
        seen = await both.ask(face, stream=False, timeout=SOON, **NAMED)
        assert seen.status == (504 if face == HTTP else "DEADLINE_EXCEEDED")


@on_each_face
async def test_it_has_to_be_there_when_a_stream_has_to_begin(face: str, tmp_path: Path) -> None:
    """The first token is the last."""
    timeouts = f"first_token_timeout_seconds = {SOON}\nbetween_tokens_timeout_seconds = 60"
    async with asked(tmp_path, half, timeouts) as (both, there, _):
        seen = await both.ask(face, stream=False)
        assert seen.error == "UPSTREAM_UNAVAILABLE"
        assert "began no answer within" in seen.message
        await serves_the_next(both, there)


@on_each_face
async def test_one_that_breaks_off_is_an_error(face: str, tmp_path: Path) -> None:
    async with asked(tmp_path, half_and_reset) as (both, there, log):
        seen = await both.ask(face, stream=False, **NAMED)
        assert (seen.error, seen.text) == ("UPSTREAM_UNAVAILABLE", "")
        assert seen.status == (503 if face == HTTP else "UNAVAILABLE")
        line = await log.line(NAME)
        assert line["outcome"] == "upstream_unavailable"
        assert "completion_tokens" not in line
        await serves_the_next(both, there)


@on_each_face
async def test_another_deployment_takes_over_whenever_one_fails(face: str, tmp_path: Path) -> None:
    """Also in the middle: of a stream the caller would have heard something by then."""
    async with upstream(half_and_reset) as faulty, upstream(well) as good:
        config = '[[models]]\nname = "m"\n'
        config += place(faulty.base_url, 1000) + place(good.base_url, 0.001)
        async with faces(tmp_path, config) as both:
            seen = await both.ask(face, stream=False)
    assert (seen.text, seen.error) == ("well said", None)
    assert (len(faulty.exchanges), len(good.exchanges)) == (1, 1)


@on_each_face
async def test_a_server_that_ends_ends_it(face: str, tmp_path: Path) -> None:
    """Its grace over, it closes its engines."""
    begun = asyncio.Event()

    async def behaving(exchange: Exchange) -> None:
        begun.set()
        await exchange.gone()

    async with asked(tmp_path, behaving) as (both, _, _):
        seen = Seen()
        asking = asyncio.ensure_future(both.ask(face, stream=False, seen=seen))
        await begun.wait()
        await both.service.models.close()
        await asking
    assert seen.error == "UPSTREAM_UNAVAILABLE"
