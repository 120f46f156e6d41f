"""Who looks on, and what is logged of requests that never reach the core."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from diglot.facade import HttpServer, RemoteChannel, build_app

from .fake import HELLO, KEY, FakeService, facade, serving, status

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OURS = (("traceparent", TRACEPARENT.replace("00f0", "11f1")),)

Trace = Sequence[tuple[str, str]]


class Watching:
    """Notes what it is shown, and has a trace context of its own."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, Trace]] = []
        self.ended: list[tuple[int | None, str]] = []
        self.trace: Trace = OURS

    def begin(self, method: str, route: str, trace: Trace) -> Watching:
        self.begun.append((method, route, trace))
        return self

    def end(self, status: int | None, request_id: str) -> None:
        self.ended.append((status, request_id))


async def test_a_clients_trace_context_goes_to_the_service() -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "a=b"}
    async with facade() as running:
        await running.ask(headers=headers)
        await running.ask(headers={"tracestate": "a=b"})
        await running.ask(headers={"traceparent": "x" * 513})
    first, second, third = running.service.metadata
    assert headers.items() <= first.items()
    for metadata in (second, third):
        assert not {"traceparent", "tracestate"} & metadata.keys()


@pytest.mark.parametrize(
    ("sent", "outcome", "code"),
    [
        ({"body": b"{"}, "invalid_json", 400),
        ({"path": "/v1/nothing?key=private"}, "unknown_url", 404),
        ({"method": "PUT"}, "method_not_allowed", 405),
        ({"headers": {"Authorization": ""}}, "invalid_api_key", 401),
    ],
)
async def test_what_the_core_never_sees_has_a_line_in_the_log(
    sent: dict[str, Any], outcome: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of what was sent is in it but the method and the path."""
    caplog.set_level(logging.INFO, "diglot.http")
    async with facade() as running:
        path = sent.get("path", "/v1/chat/completions")
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                sent.get("method", "POST"),
                running.url + path,
                data=sent.get("body", b"{}"),
                headers={
                    "Authorization": f"Bearer {KEY}",
                    "Content-Type": "application/json",
                    "x-request-id": "mine",
                }
                | sent.get("headers", {}),
            ) as response,
        ):
            assert response.status == code
    (record,) = caplog.records
    line = vars(record)
    assert {key: line[key] for key in ("request_id", "method", "path", "outcome", "status")} == {
        "request_id": "mine",
        "method": sent.get("method", "POST"),
        "path": path.partition("?")[0],
        "outcome": outcome,
        "status": code,
    }
    assert "private" not in str(line)


async def test_a_line_is_short_whatever_was_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "diglot.http")
    async with facade() as running:
        assert (await running.get("/v1/" + "%0a" * 1000))[0] == 404
    (record,) = caplog.records
    assert len(vars(record)["path"]) == 100
    assert "\n" not in vars(record)["path"]


async def test_headers_that_come_too_slowly_have_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever said nothing at all has none, nor an answer."""
    caplog.set_level(logging.INFO, "diglot.http")
    async with facade(headers_timeout=0.05) as running:
        silent, _ = await running.raw()
        assert await silent.read() == b""
        slow, _ = await running.raw(b"GET /private HTTP/1.1\r\nX: ")
        answer = await slow.read()
    (record,) = caplog.records
    line = vars(record)
    assert f"x-request-id: {line['request_id']}\r\n".encode() in answer
    assert (line["outcome"], line["status"]) == ("request_timeout", 408)
    assert "private" not in str(line)


async def test_what_the_core_sees_and_probes_have_no_line_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The service logs the one; the others come every few seconds."""
    caplog.set_level(logging.INFO, "diglot.http")
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        await context.abort_with_status(status("MODEL_NOT_FOUND", "There is none."))

    service.create = create
    async with facade(service) as running:
        assert (await running.refusal())["status"] == 404
        assert (await running.get("/readyz"))[0] in (200, 503)
    assert not caplog.records


async def test_who_looks_on_sees_each_request_begin_and_end() -> None:
    """And the service is told of its trace context."""
    watching, service = Watching(), FakeService()
    async with serving(service) as target:
        channel = RemoteChannel(target)
        server = HttpServer(build_app(channel, watch=watching), "127.0.0.1", 0)
        await server.start()
        try:
            async with aiohttp.ClientSession(headers={"x-request-id": "mine"}) as session:
                bearer = {"Authorization": f"Bearer {KEY}"}
                traced = bearer | {"traceparent": TRACEPARENT}
                url = f"http://{server.address}/v1"
                for path, headers, asked in (
                    ("chat/completions", traced, HELLO),
                    ("chat/completions", bearer, {**HELLO, "stream": True}),
                    ("chat/completions", {}, HELLO),
                ):
                    async with session.post(
                        f"{url}/{path}", headers=headers, json=asked
                    ) as response:
                        await response.read()
                async with session.get(f"{url}/models/some/model", headers=bearer) as response:
                    await response.read()
        finally:
            await server.stop(0)
            await channel.close()
    route = "/v1/chat/completions"
    assert watching.begun == [
        ("POST", route, [("traceparent", TRACEPARENT)]),
        ("POST", route, ()),
        ("POST", route, ()),
        ("GET", "/v1/models/{id}", ()),
    ]
    assert [code for code, _ in watching.ended[:3]] == [200, 200, 401]
    assert {name for _, name in watching.ended} == {"mine"}
    assert all(OURS[0] in metadata.items() for metadata in service.metadata)
