"""Traces: what a collector gets to see of calls, over both faces, and who is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from account_log import account_log
from collector import Collector, SpanSeen, collector
from faces import GRPC, HTTP, Seen, faces
from faulty_upstream import Exchange, FaultyUpstream, event, head, saying, upstream
from serving_process import started

from diglot.service.entrance import NoKeys, admit, request_id_of
from diglot.service.telemetry import tracing

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
HEADERS = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "x-request-id": "req-mine"}
FACES = pytest.mark.parametrize("face", [HTTP, GRPC])
WAYS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])


def config(there: Collector | None, *upstreams: FaultyUpstream, more: str = "") -> str:
    lines = [f'traces.endpoint = "{there.endpoint}"'] if there else []
    lines += [more, "[[models]]", 'name = "m"']
    for index, each in enumerate(upstreams):
        lines += [
            "[[models.deployments]]",
            f'name = "place-{index}"',
            f"weight = {1000 if index == 0 else 1}",
            'kind = "upstream"',
            f'base_url = "{each.base_url}"',
            'upstream_model = "gpt-5-mini"',
        ]
    return "\n".join(lines)


def below(spans: list[SpanSeen], parent: str) -> Iterator[SpanSeen]:
    """The span under this one, the one under that, and so on."""
    while found := [span for span in spans if span.parent == parent]:
        (span,) = found
        yield span
        parent = span.id


@FACES
@WAYS
async def test_a_call_is_one_trace_from_its_caller_to_the_upstream(
    tmp_path: Path, face: str, stream: bool
) -> None:
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path, config(there, behind)) as served,
    ):
        answer = await served.ask(
            face, "a question", stream=stream, headers=HEADERS, temperature=0.5
        )
        assert answer.text == "hello"
    chain = list(below(there.spans, CALLER))
    assert {span.trace for span in there.spans} == {TRACE}
    assert len(chain) == len(there.spans)
    method = "StreamChatCompletion" if stream else "CreateChatCompletion"
    names = [f"diglot.v1.ChatService/{method}", "chat gpt-5-mini"]
    kinds = ["server", "client"]
    if face == HTTP:
        names.insert(0, "POST /v1/chat/completions")
        kinds[:1] = ["server", "internal"]
    assert [span.name for span in chain] == names
    assert [span.kind for span in chain] == kinds
    assert not any(span.failed for span in chain)
    assert all(span.service == "diglot" for span in chain)

    (asked,) = behind.exchanges
    sent = asked.headers
    assert sent["traceparent"] == f"00-{TRACE}-{chain[-1].id}-01"
    assert sent["tracestate"] == "vendor=1"
    assert sent["x-request-id"] == "req-mine"


@FACES
async def test_what_the_spans_tell(tmp_path: Path, face: str) -> None:
    """By the conventions for generative AI; and nothing of what was said."""
    async with (
        collector() as there,
        upstream(saying("an", "swer")) as behind,
        faces(tmp_path, config(there, behind)) as served,
    ):
        await served.ask(
            face, "a question", headers=HEADERS, temperature=0.5, max_completion_tokens=9
        )
    attempt = there.one("chat gpt-5-mini").attributes
    assert attempt.pop("gen_ai.response.id").startswith("chatcmpl-")  # type: ignore[attr-defined]
    assert attempt == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.model": "good",
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "127.0.0.1",
        "server.port": behind.port,
    }
    call = there.one("diglot.v1.ChatService/StreamChatCompletion").attributes
    assert call == {
        "rpc.system": "grpc",
        "rpc.service": "diglot.v1.ChatService",
        "rpc.method": "StreamChatCompletion",
        "diglot.request_id": "req-mine",
        "diglot.key": "anonymous",
        "diglot.model": "m",
        "diglot.outcome": "ok",
    }
    if face == HTTP:
        assert there.one("POST /v1/chat/completions").attributes == {
            "http.request.method": "POST",
            "http.route": "/v1/chat/completions",
            "http.response.status_code": 200,
            "diglot.request_id": "req-mine",
        }
    assert b"a question" not in there.received
    assert b"swer" not in there.received


async def refusing(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n")


async def counting(exchange: Exchange) -> None:
    usage = b'{"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}'
    await exchange.send(head(), event("so"), event(None, "stop"))
    await exchange.send(b'data: {"choices": [], "usage": ' + usage + b"}\n\ndata: [DONE]\n\n")


@FACES
async def test_a_deployment_that_failed_is_a_span_beside_the_one_that_answered(
    tmp_path: Path, face: str
) -> None:
    async with (
        collector() as there,
        upstream(refusing) as bad,
        upstream(counting) as good,
        faces(tmp_path, config(there, bad, good)) as served,
    ):
        assert (await served.ask(face, headers=HEADERS)).text == "so"
    call = there.one("diglot.v1.ChatService/StreamChatCompletion")
    attempts = {span.attributes["server.port"]: span for span in there.all("chat gpt-5-mini")}
    assert {span.parent for span in attempts.values()} == {call.id}
    failed, answered = attempts[bad.port], attempts[good.port]
    assert (failed.failed, failed.attributes["error.type"]) == (True, "upstream_unavailable")
    assert (answered.failed, "error.type" in answered.attributes) == (False, False)
    assert answered.attributes["gen_ai.usage.input_tokens"] == 10
    assert answered.attributes["gen_ai.usage.output_tokens"] == 7
    assert call.attributes["diglot.deployment"] == "place-1"
    assert not call.failed


@FACES
async def test_a_call_that_fails_is_a_failed_trace(tmp_path: Path, face: str) -> None:
    async with (
        collector() as there,
        upstream(refusing) as bad,
        faces(tmp_path, config(there, bad)) as served,
    ):
        await served.ask(face, headers=HEADERS)
        await served.ask(face, model="none", headers=HEADERS)
    refused, failed = sorted(
        there.all("diglot.v1.ChatService/StreamChatCompletion"),
        key=lambda span: str(span.attributes["error.type"]),
    )
    assert (failed.attributes["error.type"], failed.failed) == ("upstream_unavailable", True)
    assert (refused.attributes["error.type"], refused.failed) == ("model_not_found", True)
    if face == HTTP:
        statuses = {
            span.attributes["http.response.status_code"]: span.failed
            for span in there.all("POST /v1/chat/completions")
        }
        assert statuses == {503: True, 404: False}


@FACES
async def test_another_diglot_goes_on_with_the_trace(tmp_path: Path, face: str) -> None:
    for name in ("near", "far"):
        (tmp_path / name).mkdir()
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path / "far", config(there, behind)) as far,
    ):
        near = f"""
            traces.endpoint = "{there.endpoint}"
            [[models]]
            name = "m"
            kind = "diglot"
            target = "{far.grpc}"
        """
        async with faces(tmp_path / "near", near) as served:
            assert (await served.ask(face, headers=HEADERS)).text == "hello"
    chain = list(below(there.spans, CALLER))
    method = "diglot.v1.ChatService/StreamChatCompletion"
    assert [span.name for span in chain][-4:] == [method, "chat m", method, "chat gpt-5-mini"]
    assert chain[-3].attributes["gen_ai.provider.name"] == "diglot"
    assert behind.exchanges[0].headers["x-request-id"] == "req-mine"
    assert chain[-2].kind == "server"


async def test_a_facade_and_a_service_on_their_own_make_one_trace(tmp_path: Path) -> None:
    """With what OpenTelemetry's own variables say."""
    file = tmp_path / "diglot.toml"
    async with collector() as there, upstream(saying("hello")) as behind:
        file.write_text(
            f'state = "{tmp_path}"\nauth.enabled = false\nstore.enabled = false\n'
            + config(there, behind)
        )
        told = {"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=mine"}
        behind_it = ("service", "--config", str(file), "--grpc", "127.0.0.1:0")
        async with started(*behind_it, OTEL_SERVICE_NAME="the-service", **told) as service:
            await service.said("models")
            await service.logged("ready seconds")
            before_it = ("facade", "--config", str(file), "--http", "127.0.0.1:0")
            async with started(
                *before_it, "--service", service.grpc, OTEL_SERVICE_NAME="the-facade"
            ) as facade:
                await facade.said("from")
                body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(
                        f"{facade.http}/chat/completions", json=body, headers=HEADERS
                    ) as response,
                ):
                    assert response.status == 200
                assert await facade.stop() == 0
            assert await service.stop() == 0
    chain = list(below(there.spans, CALLER))
    assert [(span.service, span.kind, span.name) for span in chain] == [
        ("the-facade", "server", "POST /v1/chat/completions"),
        ("the-service", "server", "diglot.v1.ChatService/CreateChatCompletion"),
        ("the-service", "client", "chat gpt-5-mini"),
    ]
    assert behind.exchanges[0].headers["traceparent"] == f"00-{TRACE}-{chain[-1].id}-01"
    assert there.headers["x-tenant"] == "mine"


@FACES
async def test_without_traces_the_callers_context_goes_through(tmp_path: Path, face: str) -> None:
    """As W3C wants it of who takes no part."""
    async with upstream(saying("hello")) as behind, faces(tmp_path, config(None, behind)) as served:
        await served.ask(face, headers=HEADERS)
        await served.ask(face, headers={"traceparent": f"00-{'0' * 32}-{CALLER}-01"})
        await served.ask(face)
        sent = [each.headers for each in behind.exchanges]
    assert (sent[0]["traceparent"], sent[0]["tracestate"]) == (TRACEPARENT, "vendor=1")
    assert not any("traceparent" in each for each in sent[1:])


@FACES
async def test_callers_decide_and_else_the_ratio_does(tmp_path: Path, face: str) -> None:
    more = "traces.sample_ratio = 0"
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path, config(there, behind, more=more)) as served,
    ):
        await served.ask(face)
        await served.ask(face, headers={"traceparent": TRACEPARENT})
        await served.ask(face, headers={"traceparent": TRACEPARENT[:-1] + "0"})
        sampled = [int(each.headers["traceparent"][-1], 16) & 1 for each in behind.exchanges]
    assert sampled == [0, 1, 0]
    assert len(list(below(there.spans, CALLER))) == len(there.spans) > 0


async def test_probes_are_no_traces(tmp_path: Path) -> None:
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path, config(there, behind)) as served,
        aiohttp.ClientSession() as session,
    ):
        for path in ("/healthz", "/readyz", "/v1/models"):
            async with session.get(served.http.removesuffix("/v1") + path) as response:
                assert response.status == 200
    assert [span.name for span in there.spans] == ["GET /v1/models"]


async def test_a_collector_that_is_down_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the server's end wait for it for long."""
    monkeypatch.setattr(tracing, "_LAST_EXPORT", 0.1)
    async with upstream(saying("hello")) as behind:
        lost = Collector(port=1)
        async with faces(tmp_path, config(lost, behind)) as served:
            for face in (HTTP, GRPC):
                assert (await served.ask(face)).text == "hello"


@FACES
async def test_a_caller_who_leaves_is_no_failure(tmp_path: Path, face: str) -> None:
    more = '[[models]]\nkind = "scripted"\n'
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path, config(there, behind) + f"\n{more}") as served,
    ):
        with account_log() as log:
            script = {"content": "a b", "interval_ms": 600_000}
            seen = Seen()
            asking = asyncio.ensure_future(
                served.ask(
                    face,
                    model="scripted",
                    seen=seen,
                    headers=HEADERS,
                    vendor={"scripted": script},
                )
            )
            await seen.until(lambda seen: seen.model)
            asking.cancel()
            assert (await log.line("req-mine"))["outcome"] == "cancelled"
    spans = [there.one("diglot.v1.ChatService/StreamChatCompletion"), there.one("chat scripted")]
    assert [span.attributes["error.type"] for span in spans] == ["cancelled", "cancelled"]
    assert not any(span.failed for span in spans)


@pytest.mark.parametrize(
    ("metadata", "trace"),
    [
        ({}, ()),
        ({"traceparent": TRACEPARENT}, (("traceparent", TRACEPARENT),)),
        ({"traceparent": "00-xyz"}, ()),
        ({"traceparent": TRACEPARENT + "\r\nx: y"}, ()),
        ({"traceparent": f"ff-{TRACE}-{CALLER}-01"}, ()),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, ()),
        ({"tracestate": "a=b"}, ()),
        (
            {"traceparent": TRACEPARENT, "tracestate": "a=b\r\nx: y"},
            (("traceparent", TRACEPARENT),),
        ),
        (
            {"traceparent": TRACEPARENT, "tracestate": "a" * 513},
            (("traceparent", TRACEPARENT),),
        ),
    ],
)
async def test_a_context_that_is_none_goes_nowhere(
    metadata: dict[str, str], trace: tuple[Any, ...]
) -> None:
    pairs = tuple(metadata.items())
    assert admit(pairs, None, request_id_of(pairs), NoKeys()).trace == trace
