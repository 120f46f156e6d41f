"""What a call's line in the log says, and what it never does."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pytest
from account_log import account_log
from engines import FakeEngine
from serving import ScriptedChat, ask, scripted_service

from diglot.service import errors, logs
from diglot.service.account import Account
from diglot.service.call import Call
from diglot.service.meter import Meter
from diglot.service.routing import Deployment, Group, RoutedEngine
from diglot.service.telemetry.metrics import Metrics
from diglot.v1.completion_pb2 import Usage

CALL = Call("req_test", "0a1b2c3d")


def call(deadline: float | None = None) -> Call:
    return replace(CALL, meter=Meter(), deadline=deadline)


async def line_of(chat: ScriptedChat, *, stream: bool = True, **asked: Any) -> dict[str, Any]:
    """What the log says of a call, besides what every line has."""
    with account_log() as log:
        with suppress(errors.ChatError, RuntimeError):
            if stream:
                async with aclosing(chat.stream(ask(**asked), call())) as chunks:
                    async for _ in chunks:
                        pass
            else:
                await chat.create(ask(**asked), call())
        line = await log.line("req_test")
    plain = vars(logging.makeLogRecord({})).keys() | {"message", "taskName"}
    return {key: value for key, value in line.items() if key not in plain}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_line_says_who_asked_for_what_and_what_it_came_to(stream: bool) -> None:
    async with scripted_service() as chat:
        line = await line_of(chat, stream=stream, content="one two three")
    times = {key: line.pop(key) for key in ("ms", "first_chunk_ms")}
    assert line == {
        "request_id": "req_test",
        "key": "0a1b2c3d",
        "model": "scripted",
        "stream": stream,
        "outcome": "ok",
        "status": 200,
        "prompt_tokens": 3,
        "completion_tokens": 3,
    }
    assert 0 <= times["first_chunk_ms"] <= times["ms"]


@pytest.mark.parametrize(
    ("asked", "outcome", "status"),
    [
        ({"model": "none"}, "model_not_found", 404),
        ({"temperature": 9.0}, "invalid_value", 400),
        ({"script": {"fail": "RATE_LIMIT_EXCEEDED"}}, "rate_limit_exceeded", 429),
        ({"script": {"fail": "ENGINE_LOST"}}, "engine_lost", 503),
        ({"script": {"fail": "BUG"}}, "internal", 500),
    ],
)
async def test_a_line_says_why_a_call_failed(
    asked: dict[str, Any], outcome: str, status: int
) -> None:
    """By the error's reason, and by the status that the contract's table has for it."""
    async with scripted_service() as chat:
        line = await line_of(chat, **asked)
    assert (line["outcome"], line["status"]) == (outcome, status)
    assert "completion_tokens" not in line


async def test_a_line_names_the_deployment_that_answered() -> None:
    bad, good = (
        Deployment(name, engine)
        for name, engine in (
            ("bad", FakeEngine(errors.UpstreamUnavailable("Down."))),
            ("good", FakeEngine()),
        )
    )
    bad.weight = 1000
    routed = RoutedEngine(Group("scripted", [bad, good]))
    async with scripted_service() as chat:
        (served,) = chat.models.served
        chat.models.replace([replace(served, engine=routed)])
        line = await line_of(chat)
    assert (line["deployment"], line["outcome"]) == ("good", "ok")


@pytest.mark.parametrize("form", ["text", "json"])
async def test_nothing_of_what_was_said_is_in_a_line(form: Any) -> None:
    """And a model's made-up name cannot make it long, nor two of it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    try:
        async with scripted_service() as chat:
            for model in ("scripted", "x\ny" + "z" * 10_000):
                with suppress(errors.ChatError):
                    await chat.create(ask(content="a secret", model=model), call())
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert not any("secret" in line for line in lines)
    assert all(len(line) < 600 for line in lines)
    if form == "json":
        assert json.loads(lines[1])["outcome"] == "model_not_found"


async def test_who_is_cancelled_at_the_deadline_ran_out_of_time() -> None:
    """Over gRPC the caller's own deadline ends the call, a little before ours would."""
    now = asyncio.get_running_loop().time()
    outcomes, statuses = {}, {}
    with account_log() as log:
        for name, deadline in (("late", now + 0.05), ("early", now + 60), ("free", None)):
            Account("m", replace(call(deadline), request_id=name)).close()
            line = await log.line(name)
            outcomes[name], statuses[name] = line["outcome"], line.get("status")
    assert outcomes == {"late": "deadline_exceeded", "early": "cancelled", "free": "cancelled"}
    assert statuses == {"late": 504, "early": None, "free": None}


async def test_a_line_names_the_trace_that_the_call_is_part_of() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with account_log() as log:
        context = (("traceparent", f"00-{trace}-00f067aa0ba902b7-01"),)
        Account("m", replace(call(), trace=context)).close()
        assert (await log.line("req_test"))["trace_id"] == trace


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


async def test_gaps_are_counted_once_a_call_and_are_as_long_as_the_answer(
    metrics: Metrics,
) -> None:
    account = Account("m", call(), streamed=True, metrics=metrics)
    account.admitted("m")
    for _ in range(5):
        account.chunks(1)
    gaps = metrics.models["m"].gaps
    assert sum(gaps.counts) == 0
    account.ended()
    account.close()
    assert sum(gaps.counts) == 4
    assert 0 < gaps.sum < metrics.models["m"].duration.sum


async def test_chunks_that_come_together_have_no_pause_between_them(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first of a burst comes after one, unless it is the first of all."""
    now = 100.0
    monkeypatch.setattr("diglot.service.account.time.perf_counter", lambda: now)
    account = Account("m", call(), streamed=True, metrics=metrics)
    account.admitted("m")
    for later, count in ((0.5, 3), (0.2, 4), (0.02, 1)):
        now += later
        account.chunks(count)
    account.ended()
    account.close()
    model = metrics.models["m"]
    assert model.gaps.counts == [5 if not at else int(at in (4, 7)) for at in range(14)]
    assert model.first_chunk.sum == pytest.approx(0.5)
    assert model.gaps.sum == pytest.approx(0.22)


async def test_a_call_is_counted_to_its_end_whatever_its_upstream_counts(metrics: Metrics) -> None:
    """More in all than there is room for in one number."""
    cut = call()
    for _ in range(2):
        cut.meter.follow(lambda: Usage(prompt_tokens=2**31 - 1, completion_tokens=2**31 - 1))
    account = Account("m", cut, metrics=metrics)
    account.admitted("m")
    account.close()
    model = metrics.models["m"]
    assert (model.in_flight, model.outcomes) == (0, {"cancelled": 1})
    assert model.completion_tokens == 2**31 - 1


async def test_refusals_and_failures_are_not_among_the_times_of_answers(metrics: Metrics) -> None:
    """They are quick: an overload would look fast."""
    refused = Account("m", call(), metrics=metrics)
    refused.admitted("m")
    refused.failed(errors.QueueFull(1))
    refused.close()
    broken = Account("m", call(), metrics=metrics)
    broken.admitted("m")
    broken.waited(0.5)
    broken.failed(errors.EngineLost("Gone."))
    broken.close()
    model = metrics.models["m"]
    assert (sum(model.duration.counts), sum(model.queue.counts), model.queue.sum) == (0, 1, 0.5)
    assert model.outcomes == {"queue_full": 1, "engine_lost": 1}
    assert model.in_flight == 0


async def test_nothing_is_written_where_the_log_wants_less(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """The metrics count all the same."""
    caplog.set_level(logging.WARNING, "diglot.chat")
    account = Account("m", call(), metrics=metrics)
    account.admitted("m")
    account.ended()
    account.close()
    assert not caplog.records
    assert metrics.models["m"].outcomes == {"ok": 1}
