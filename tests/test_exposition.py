"""What Prometheus reads besides the calls of a model: all of the table, and nothing else."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import grpc
from faces import HTTP, faces
from faulty_upstream import Exchange, saying, upstream
from serving import ask
from watched import SCRIPTED, watched

from diglot.service.telemetry import exposition
from diglot.v1.chat_pb2_grpc import ChatServiceStub


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
            line, seen = await server.accounted("a")
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
