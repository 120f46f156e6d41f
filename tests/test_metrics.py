"""Calls over both faces, and what Prometheus then reads of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from account_log import AccountLog, account_log
from faces import GRPC, HTTP, Faces, Seen, faces
from faulty_upstream import Exchange, event, head, saying, upstream
from scrape import Scrape, scrape
from serving import ask

from diglot.service.admin import AdminServer
from diglot.service.command.admin import Exposition
from diglot.service.telemetry import exposition
from diglot.v1.chat_pb2_grpc import ChatServiceStub

SCRIPTED = """
admin.address = "127.0.0.1:0"
[[models]]
kind = "scripted"
name = "m"
aliases = ["other"]
"""
FACES = pytest.mark.parametrize("face", [HTTP, GRPC])
WAYS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
FOREVER = {"interval_ms": 600_000}


@dataclass
class Watched:
    faces: Faces
    log: AccountLog
    url: str

    async def scrape(self) -> Scrape:
        return await scrape(f"{self.url}/metrics")

    async def ask(self, face: str, name: str, **asked: Any) -> Seen:
        """`name` becomes the call's id."""
        return await self.faces.ask(face, headers={"x-request-id": name}, **asked)


@asynccontextmanager
async def watched(directory: Path, config: str = SCRIPTED) -> AsyncIterator[Watched]:
    async with faces(directory, config) as served:
        told = Exposition(served.service.telemetry, served.service)

        async def ready() -> str | None:
            return None

        admin = AdminServer(told.gather, ready)
        port = await admin.start("127.0.0.1", 0)
        try:
            with account_log() as log:
                yield Watched(served, log, f"http://127.0.0.1:{port}")
        finally:
            await admin.stop()


@FACES
@WAYS
async def test_an_answer_is_counted_with_its_tokens_and_times(
    tmp_path: Path, face: str, stream: bool
) -> None:
    async with watched(tmp_path) as server:
        script = {"content": "one two three", "reasoning": "hm hm"}
        await server.ask(face, "a", stream=stream, vendor={"scripted": script})
        await server.log.line("a")
        seen = await server.scrape()
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
        line = await server.log.line("a")
        seen = await server.scrape()
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
        await server.log.line("c")
        seen = await server.scrape()
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
        await server.log.line("a")
        seen = await server.scrape()
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
        line = await server.log.line("b")
        seen = await server.scrape()
    assert line["queue_ms"] > 0
    assert seen("diglot_request_queue_seconds_sum", model="m") > 0
    assert seen("diglot_requests_queued", model="m") == 0
    assert seen("diglot_requests_total", model="m", outcome="queue_full") == 1


async def test_requests_of_the_http_face_are_counted_by_route_and_status(tmp_path: Path) -> None:
    """Methods and paths that somebody makes up are none."""
    async with watched(tmp_path) as server:
        root = server.faces.http.removesuffix("/v1")
        async with aiohttp.ClientSession() as session:
            for method, path, status in (
                ("GET", "/v1/models", 200),
                ("GET", "/v1/models/m", 200),
                ("GET", "/v1/models/none", 404),
                ("GET", "/v1/nothing", 404),
                ("PROPFIND", "/v1/models", 405),
                ("POST", "/v1/chat/completions", 415),
            ):
                async with session.request(method, root + path, data=b"{") as response:
                    assert response.status == status
        await server.ask(HTTP, "a", stream=True)
        seen = await server.scrape()
    found = {
        (labels["method"], labels["route"], labels["status"]): value
        for labels, value in seen.series("diglot_http_requests_total")
    }
    assert found == {
        ("GET", "/v1/models", "200"): 1,
        ("GET", "/v1/models/{id}", "200"): 1,
        ("GET", "/v1/models/{id}", "404"): 1,
        ("GET", "", "404"): 1,
        ("other", "", "405"): 1,
        ("POST", "/v1/chat/completions", "415"): 1,
        ("POST", "/v1/chat/completions", "200"): 1,
    }


async def refusing(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\nRetry-After: 60\r\n\r\n")


async def test_deployments_show_their_failures_and_whether_they_are_left_out(
    tmp_path: Path,
) -> None:
    async with upstream(refusing) as bad, upstream(saying("hello")) as good:
        config = f"""
            admin.address = "127.0.0.1:0"
            [[models]]
            name = "m"
            [[models.deployments]]
            name = "bad"
            kind = "upstream"
            base_url = "{bad.base_url}"
            weight = 1000
            [[models.deployments]]
            name = "good"
            kind = "upstream"
            base_url = "{good.base_url}"
        """
        async with watched(tmp_path, config) as server:
            assert (await server.ask(HTTP, "a")).text == "hello"
            line = await server.log.line("a")
            seen = await server.scrape()
    assert line["deployment"] == "good"
    for name, expected in (
        ("diglot_deployment_ready", (1, 1)),
        ("diglot_deployment_circuit_open", (1, 0)),
        ("diglot_deployment_requests_in_flight", (0, 0)),
        ("diglot_deployment_requests_total", (1, 1)),
        ("diglot_deployment_failures_total", (1, 0)),
    ):
        assert (seen(name, deployment="bad"), seen(name, deployment="good")) == expected, name
    assert seen("diglot_deployment_failures_total", reason="upstream_unavailable") == 1


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
            await server.log.line("a")
            seen = await server.scrape()
    kinds = {labels["kind"]: value for labels, value in seen.series("diglot_tokens_total")}
    assert kinds == {"prompt": 10, "cached": 8, "completion": 7, "reasoning": 5}


async def test_every_metric_is_in_the_table(tmp_path: Path) -> None:
    """Of the module's text, with its labels; and nothing else is there."""
    table = {}
    for row in (exposition.__doc__ or "").splitlines():
        cells = row.strip().split("  ")
        if cells[0].startswith("diglot_"):
            table[cells[0]] = row
    async with watched(tmp_path) as server:
        await server.ask(HTTP, "a")
        seen = await server.scrape()
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in seen.families.values()
        if not family.name.startswith("process_")
    }
    assert names == set(table)
    for family in seen.families.values():
        for sample in family.samples:
            for label in sample.labels.keys() - {"le"}:
                name = f"{family.name}_total" if family.type == "counter" else family.name
                assert name.startswith("process_") or label in table[name], (name, label)
    assert seen("process_resident_memory_bytes") > 0
    assert seen("process_open_fds") > 0


async def test_openmetrics_for_who_asks_for_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as server, aiohttp.ClientSession() as session:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with session.get(f"{server.url}/metrics", headers=accept) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text")
            assert (await response.text()).endswith("# EOF\n")


async def test_a_model_shows_its_zeros_before_its_first_call(tmp_path: Path) -> None:
    """So that the first call is an increase, and not the series' beginning."""
    async with watched(tmp_path) as server:
        seen = await server.scrape()
    assert ({"model": "m", "kind": "completion"}, 0) in list(seen.series("diglot_tokens_total"))
    assert list(seen.series("diglot_request_duration_seconds_count")) == [({"model": "m"}, 0)]


async def test_nothing_is_counted_where_nobody_can_ask(tmp_path: Path) -> None:
    async with faces(tmp_path, SCRIPTED.replace("admin.", "# admin.")) as served:
        assert (await served.ask(HTTP)).ended
        assert served.service.telemetry.metrics is None
        assert served.service.telemetry.http_watch is None
        async with grpc.aio.insecure_channel(served.grpc) as channel:
            assert (await ChatServiceStub(channel).CreateChatCompletion(ask(model="m"))).id
