"""Calls over both faces, and what Prometheus then reads of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from faces import GRPC, HTTP
from faulty_upstream import Exchange, event, head, upstream
from watched import FACES, SCRIPTED, watched

WAYS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
FOREVER = {"interval_ms": 600_000}


@FACES
@WAYS
async def test_an_answer_is_counted_with_its_tokens_and_times(
    tmp_path: Path, face: str, stream: bool
) -> None:
    async with watched(tmp_path) as server:
        script = {"content": "one two three", "reasoning": "hm hm"}
        await server.ask(face, "a", stream=stream, vendor={"scripted": script})
        _, seen = await server.accounted("a")
    assert seen("diglot_requests_total", model="m", outcome="ok") == 1
    assert seen("diglot_requests_total") == 1
    assert seen("diglot_tokens_total", model="m", kind="prompt") == 1
    assert seen("diglot_tokens_total", model="m", kind="completion") == 5
    assert seen("diglot_request_duration_seconds_count", model="m") == 1
    assert seen("diglot_request_queue_seconds_count", model="m") == 1
    assert seen("diglot_first_chunk_seconds_count", model="m") == 1
    assert 0 < seen("diglot_first_chunk_seconds_sum") < seen("diglot_request_duration_seconds_sum")
    # The role, two thoughts, three words, the end and the usage.
    assert seen("diglot_chunk_gap_seconds_count", model="m") == 7
    assert seen("diglot_chunk_gap_seconds_bucket", model="m", le="+Inf") == 7
    assert seen("diglot_requests_in_flight", model="m") == 0


@FACES
@WAYS
async def test_a_call_that_fails_is_counted_by_its_reason(
    tmp_path: Path, face: str, stream: bool
) -> None:
    async with watched(tmp_path) as server:
        script = {"fail": "ENGINE_LOST", "fail_after": 1}
        failed = await server.ask(face, "a", stream=stream, vendor={"scripted": script})
        assert failed.error == "ENGINE_LOST"
        line, seen = await server.accounted("a")
    assert seen("diglot_requests_total", model="m", outcome="engine_lost") == 1
    assert seen("diglot_requests_total") == 1
    assert seen("diglot_tokens_total", kind="completion") == 1, "what was delivered"
    assert (line["outcome"], line["status"], line["stream"]) == ("engine_lost", 503, stream)


@FACES
@WAYS
async def test_a_call_that_is_refused_is_counted_without_what_it_asked_for(
    tmp_path: Path, face: str, stream: bool
) -> None:
    """Else callers could make as many series as they like."""
    async with watched(tmp_path) as server:
        await server.ask(face, "a", stream=stream, model="made-up")
        await server.ask(face, "b", stream=stream, temperature=9.0)
        await server.ask(face, "c", stream=stream, model="other")
        _, seen = await server.accounted("c")
    assert list(seen.series("diglot_requests_total")) == [
        ({"model": "", "outcome": "model_not_found"}, 1),
        ({"model": "", "outcome": "invalid_value"}, 1),
        ({"model": "m", "outcome": "ok"}, 1),
    ]
    assert "made-up" not in seen.text


@FACES
@WAYS
async def test_a_call_whose_deadline_passes_is_counted_as_that(
    tmp_path: Path, face: str, stream: bool
) -> None:
    async with watched(tmp_path) as server:
        late = await server.ask(face, "a", stream=stream, timeout=0.3, vendor={"scripted": FOREVER})
        assert late.error == {HTTP: "TIMEOUT", GRPC: "DEADLINE_EXCEEDED"}[face]
        _, seen = await server.accounted("a")
    assert seen("diglot_requests_total", model="m", outcome="deadline_exceeded") == 1
    assert seen("diglot_requests_total") == 1


@FACES
@WAYS
async def test_a_call_whose_caller_leaves_is_counted_as_cancelled(
    tmp_path: Path, face: str, stream: bool
) -> None:
    """And until then as one in flight."""
    async with watched(tmp_path) as server:
        asking = asyncio.ensure_future(
            server.ask(face, "a", stream=stream, vendor={"scripted": FOREVER})
        )
        metrics = server.faces.service.telemetry.metrics
        assert metrics is not None
        while not metrics.models["m"].in_flight:
            await asyncio.sleep(0)
        seen = await server.scrape()
        assert seen("diglot_requests_in_flight", model="m") == 1
        assert seen("diglot_requests_running", model="m") == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await server.log.line("a"))["outcome"] == "cancelled"
        while face == HTTP and not metrics.http:
            await asyncio.sleep(0)
        seen = await server.scrape()
    assert seen("diglot_requests_total", model="m", outcome="cancelled") == 1
    assert seen("diglot_http_requests_total", status="client_gone") == (face == HTTP)
    assert seen("diglot_requests_in_flight", model="m") == 0
    assert seen("diglot_requests_running", model="m") == 0


@FACES
async def test_a_model_of_many_names_is_one_series(tmp_path: Path, face: str) -> None:
    """Under the name that the configuration has, with its *."""
    pattern = '[[models]]\nkind = "scripted"\nname = "any/*"\n'
    async with watched(tmp_path, SCRIPTED + pattern) as server:
        for name in ("any/one", "any/two", "any/three"):
            assert (await server.ask(face, name.replace("/", "-"), model=name)).ended
        seen = await server.scrape()
    assert list(seen.series("diglot_requests_total")) == [({"model": "any/*", "outcome": "ok"}, 3)]
    assert seen("diglot_model_ready", model="any/*") == 1


@FACES
async def test_a_call_that_waits_is_seen_in_the_queue(tmp_path: Path, face: str) -> None:
    config = SCRIPTED + "max_running = 1\nmax_queued = 1\n"
    async with watched(tmp_path, config) as server:
        first = asyncio.ensure_future(server.ask(face, "a", vendor={"scripted": FOREVER}))
        admission = server.faces.service.models.served[0].admission
        assert admission is not None
        while not admission.running:
            await asyncio.sleep(0)
        second = asyncio.ensure_future(server.ask(face, "b"))
        while not admission.queued:
            await asyncio.sleep(0)
        seen = await server.scrape()
        assert seen("diglot_requests_running", model="m") == 1
        assert seen("diglot_requests_queued", model="m") == 1
        assert seen("diglot_requests_in_flight", model="m") == 2
        assert (await server.ask(face, "c")).status == {HTTP: 503, GRPC: "UNAVAILABLE"}[face]
        first.cancel()
        assert (await second).ended
        line, seen = await server.accounted("b")
    assert line["queue_ms"] > 0
    assert seen("diglot_request_queue_seconds_sum", model="m") > 0
    assert seen("diglot_requests_queued", model="m") == 0
    assert seen("diglot_requests_total", model="m", outcome="queue_full") == 1


async def thinking(exchange: Exchange) -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    await exchange.send(head(), event("so"), event(None, "stop"))
    await exchange.send(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode())
    await exchange.send(b"data: [DONE]\n\n")


@FACES
async def test_tokens_of_the_cache_and_of_thoughts_are_told_apart(
    tmp_path: Path, face: str
) -> None:
    async with upstream(thinking) as there:
        config = f"""
            admin.address = "127.0.0.1:0"
            [[models]]
            name = "m"
            kind = "upstream"
            base_url = "{there.base_url}"
        """
        async with watched(tmp_path, config) as server:
            assert (await server.ask(face, "a")).ended
            _, seen = await server.accounted("a")
    kinds = {labels["kind"]: value for labels, value in seen.series("diglot_tokens_total")}
    assert kinds == {"prompt": 10, "cached": 8, "completion": 7, "reasoning": 5}
