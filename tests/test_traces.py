"""Traces: what a collector gets to see of calls, over both faces."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from collector import collector
from faces import HTTP, faces
from faulty_upstream import Exchange, event, head, saying, upstream
from serving_process import started
from traces import CALLER, FACES, HEADERS, TRACE, below, config

WAYS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])


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
