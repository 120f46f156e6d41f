"""The table of what can go wrong. Each row says three things: what the client saw, what was
accounted, and that the upstream's call is over and its place serves the next one.

    upstream refuses, resets, hangs, sends garbage, tears a chunk …   FAULTS, here; forty more
                                                                      by what is seen alone, and
                                                                      beside a healthy one, in
                                                                      test_failover.py
    client gone while queued, in prefill, between tokens              LEAVES, here
    deadline passes in the middle of an answer                        here
    client reads nothing                                              facade/test_connection.py,
                                                                      service/test_reading.py
    engine killed during a stream, and while calls are queued         test_chaos_engine.py
    SIGTERM, SIGKILL of Diglot during streams                         test_chaos_processes.py
    the store's disk is full                                          test_chaos_processes.py
    the clock jumps                                                   test_chaos_processes.py
    one of two engines killed under load                              test_two_llamas.py
    Diglot killed while it stores                                     test_crash.py
    one of three Diglots killed under load                            test_scale_out.py

Every row is run over both faces, streamed and whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from account_log import AccountLog, account_log
from bench.planned_upstream import (
    CLOSE,
    ERROR,
    GARBAGE,
    HANG,
    RESET,
    TORN,
    Plan,
    PlannedUpstream,
    answer,
    planned_upstream,
)
from faces import GRPC, HTTP, Faces, Seen, faces

SDK = "sdk"
QUESTION = "what goes wrong"
NAME = "the-call"
SOON, PATIENCE = 0.4, 60.0
"""Seconds: for what is to run into a timeout, and for all else."""


@dataclass(frozen=True)
class Scene:
    """One model with one place, and one upstream behind it."""

    upstream: PlannedUpstream
    faces: Faces
    log: AccountLog

    async def ask(self, face: str, plan: Plan, seen: Seen, *, stream: bool, **more: Any) -> Seen:
        headers = {"x-request-id": plan.name}
        vendor = {"plan": plan.json()}
        return await self.faces.ask(
            face, QUESTION, stream=stream, seen=seen, vendor=vendor, headers=headers, **more
        )

    async def accounted(self, outcome: str, tokens: int, name: str = NAME) -> None:
        line = await self.log.line(name)
        assert line["outcome"] == outcome
        assert line.get("completion_tokens", 0) == tokens

    async def serves_the_next(self) -> None:
        """On both faces, though there is but one place."""
        for face in (HTTP, GRPC):
            plan = Plan(name=f"next over {face}", tokens=2)
            seen = await self.ask(face, plan, Seen(), stream=True)
            assert (seen.text, seen.ended) == (answer(QUESTION, 2), True)


@asynccontextmanager
async def scene(directory: Path, timeout: float = PATIENCE) -> AsyncIterator[Scene]:
    async with planned_upstream() as upstream:
        config = f"""
            [[models]]
            name = "m"
            max_running = 1
            [[models.deployments]]
            kind = "upstream"
            base_url = "{upstream.base_url}"
            first_token_timeout_seconds = {timeout}
            between_tokens_timeout_seconds = {timeout}
            """
        with account_log() as log:
            async with faces(directory, config) as both:
                yield Scene(upstream, both, log)


@dataclass(frozen=True)
class Fault:
    name: str
    plan: Plan
    reason: str
    http: int
    grpc: str

    @property
    def timeout(self) -> float:
        return SOON if self.plan.then == HANG else PATIENCE


def fault(name: str, reason: str, http: int, grpc: str, **plan: Any) -> Fault:
    return Fault(name, Plan(name=NAME, **plan), reason, http, grpc)


DOWN = ("UPSTREAM_UNAVAILABLE", 503, "UNAVAILABLE")
INVALID = ("UPSTREAM_INVALID", 502, "INTERNAL")

FAULTS = [
    fault("503", *DOWN, status=503),
    fault("500", *INVALID, status=500),
    fault("429", "RATE_LIMIT_EXCEEDED", 429, "RESOURCE_EXHAUSTED", status=429),
    fault("400", "UPSTREAM_REFUSED", 400, "INVALID_ARGUMENT", status=400),
    *(
        fault(f"{what}, {when}", *error, tokens=tokens, then=then)
        for what, then, error in (
            ("reset", RESET, DOWN),
            ("end", CLOSE, DOWN),
            ("hang", HANG, DOWN),
            ("garbage", GARBAGE, INVALID),
            ("torn chunk", TORN, DOWN),
            ("error event", ERROR, INVALID),
        )
        for when, tokens in (("before the first token", 0), ("in the middle", 5))
    ),
]

in_each_mode = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@in_each_mode
@pytest.mark.parametrize("face", [HTTP, GRPC])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_an_upstream_that_fails(
    fault: Fault, face: str, stream: bool, tmp_path: Path
) -> None:
    tokens = fault.plan.tokens if fault.plan.status == 200 else 0
    async with scene(tmp_path, fault.timeout) as at:
        seen = await at.ask(face, fault.plan, Seen(), stream=stream)
        assert not seen.ended
        assert seen.text == (answer(QUESTION, tokens) if stream else "")
        # Over HTTP an upstream's own code is passed on with a refusal, and there was none.
        refused = fault.reason == "UPSTREAM_REFUSED" and face == HTTP
        assert seen.error == ("" if refused else fault.reason)
        begun = stream and tokens > 0
        assert seen.status == (fault.grpc if face == GRPC else 200 if begun else fault.http)
        await at.accounted(fault.reason.lower(), tokens)
        await at.upstream.until(NAME, lambda entry: entry.gone or entry.ended)
        await at.serves_the_next()


@in_each_mode
@pytest.mark.parametrize("face", [HTTP, GRPC])
async def test_a_deadline_that_passes(face: str, stream: bool, tmp_path: Path) -> None:
    """What has come is kept, and accounted."""
    async with scene(tmp_path) as at:
        plan = Plan(name=NAME, tokens=3, then=HANG)
        seen = await at.ask(face, plan, Seen(), stream=stream, timeout=2 * SOON)
        assert not seen.ended
        assert seen.text == (answer(QUESTION, 3) if stream else "")
        assert seen.error == ("TIMEOUT" if face == HTTP else "DEADLINE_EXCEEDED")
        assert seen.status == ("DEADLINE_EXCEEDED" if face == GRPC else 200 if stream else 504)
        await at.accounted("deadline_exceeded", 3)
        await at.upstream.until(NAME, lambda entry: entry.gone)
        await at.serves_the_next()


async def by_sdk(at: Scene, plan: Plan, seen: Seen, *, stream: bool) -> None:
    """Leaves a stream, once there is one, by the SDK's own `close`."""
    async with openai.AsyncOpenAI(
        base_url=at.faces.http,
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=False),  # there is no TLS to verify
    ) as client:
        asked: Any = {
            "model": "m",
            "messages": [{"role": "user", "content": QUESTION}],
            "extra_body": {"plan": plan.json()},
            "extra_headers": {"x-request-id": plan.name},
        }
        if not stream:
            await client.chat.completions.create(**asked)
            return
        chunks = await client.chat.completions.create(**asked, stream=True)
        async for chunk in chunks:
            seen.hears(chunk.choices[0].delta.content or "")
            if seen.text == answer(QUESTION, plan.tokens):
                await chunks.close()
                return


@dataclass(frozen=True)
class Leave:
    """When a client leaves, and what it costs."""

    name: str
    tokens: int
    reached: Callable[[Scene, Seen, bool], Awaitable[object]]
    asked: bool = True
    """Whether the upstream has heard of it."""


async def queued(at: Scene, seen: Seen, stream: bool) -> None:
    [model] = at.faces.service.models.served
    assert model.admission is not None
    while not model.admission.queued:
        await asyncio.sleep(0)


async def in_prefill(at: Scene, seen: Seen, stream: bool) -> None:
    await at.upstream.until(NAME, lambda entry: True)


async def between_tokens(at: Scene, seen: Seen, stream: bool) -> None:
    if stream:
        await seen.until(lambda seen: seen.text == answer(QUESTION, 3))
        return
    await at.upstream.until(NAME, lambda entry: entry.produced == 3)
    for _ in range(10):  # rounds of the loop that the server shares with us: it has read them
        await asyncio.sleep(0)


LEAVES = [
    Leave("queued", 0, queued, asked=False),
    Leave("in prefill", 0, in_prefill),
    Leave("between tokens", 3, between_tokens),
]


@in_each_mode
@pytest.mark.parametrize("way", [HTTP, GRPC, SDK])
@pytest.mark.parametrize("leave", LEAVES, ids=lambda leave: leave.name)
async def test_a_client_that_leaves(leave: Leave, way: str, stream: bool, tmp_path: Path) -> None:
    """HTTP: the connection is closed; gRPC: the call is cancelled; the SDK: a stream is closed,
    and whatever has not begun is cancelled."""
    async with scene(tmp_path) as at, a_place_taken(at, if_so=not leave.asked):
        plan, seen = Plan(name=NAME, tokens=leave.tokens, then=HANG), Seen()
        asks = (
            by_sdk(at, plan, seen, stream=stream)
            if way == SDK
            else at.ask(way, plan, seen, stream=stream)
        )
        asking = asyncio.ensure_future(asks)
        await leave.reached(at, seen, stream)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await at.accounted("cancelled", leave.tokens)
        if leave.asked:
            entry = await at.upstream.until(NAME, lambda entry: entry.gone)
            assert entry.produced == leave.tokens
    assert (NAME in at.upstream.entries) == leave.asked


@asynccontextmanager
async def a_place_taken(at: Scene, *, if_so: bool) -> AsyncIterator[None]:
    """Meanwhile whoever asks is queued; afterwards the place serves the next one."""
    if if_so:
        seen = Seen()
        plan = Plan(name="holder", tokens=1, then=HANG)
        holding = asyncio.ensure_future(at.ask(HTTP, plan, seen, stream=True))
        await seen.until(lambda seen: seen.text)
        yield
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await at.accounted("cancelled", 1, "holder")
    else:
        yield
    await at.serves_the_next()
