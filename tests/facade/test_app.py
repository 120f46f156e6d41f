"""Paths, methods, bodies, names: everything about a request but its meaning."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from diglot.facade import FacadeOptions

from .fake import HELLO, KEY, FakeService, facade, post, status


async def test_a_completion() -> None:
    async with facade() as running:
        code, headers, answer = await running.ask()
        assert code == 200
        assert headers["Content-Type"] == "application/json"
        assert answer["choices"][0]["message"]["content"] == "hi"
        assert answer["usage"]["total_tokens"] == 5
        request = running.service.requests[0]
        assert request.messages[0].content == "hello"
        assert running.service.calls == ["CreateChatCompletion"]  # and no other call


@pytest.mark.parametrize("stream", [False, None])
async def test_without_stream_it_is_a_plain_call(stream: bool | None) -> None:
    async with facade() as running:
        asked = {**HELLO, "stream": stream, "stream_options": {"include_usage": True}}
        assert (await running.ask(asked))[0] == 200
        assert running.service.calls == ["CreateChatCompletion"]
        assert running.service.requests[0].stream_options.include_usage  # the core's to refuse


async def test_empty_messages_reach_the_core() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        assert not request.messages
        await context.abort_with_status(status("MISSING_VALUE", "Say something.", field="messages"))

    service.create = create
    async with facade(service) as running:
        error = await running.refusal({"model": "m", "messages": []})
        assert error == {
            "status": 400,
            "message": "Say something.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "missing_required_parameter",
        }


async def test_models() -> None:
    async with facade() as running:
        code, _, answer = await running.get("/v1/models")
        model = {"id": "m", "object": "model", "created": 1700000000, "owned_by": "diglot"}
        assert (code, answer) == (200, {"object": "list", "data": [model]})


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("m", "m"),
        ("org/name:tag", "org/name:tag"),
        ("org%2Fname:tag", "org/name:tag"),
        ("org%2Fname%3Atag", "org/name:tag"),
        ("a%252Fb", "a%2Fb"),
        ("%C3%A9 x", "é x"),
        ("%ff", "%ff"),
        ("a/", "a/"),
        ("a//b", "a//b"),
    ],
)
async def test_model_ids(path: str, model: str) -> None:
    async with facade() as running:
        reader, writer = await running.raw(
            f"GET /v1/models/{path.replace(' ', '%20')} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {KEY}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        assert json.loads(answer.split(b"\r\n\r\n")[1])["id"] == model
        writer.close()


async def test_a_path_of_no_unicode_is_no_server_error(caplog: pytest.LogCaptureFixture) -> None:
    async with facade() as running:
        for path in (b"/v1/models/\xff", b"/v1/\xff\xfe", b"/v1/models/%00%0a", b"*", b"//", b"/%"):
            reader, writer = await running.raw(
                b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Authorization: Bearer " + KEY.encode() + b"\r\n\r\n"
            )
            answer = await reader.read()
            assert int(answer.split(b" ")[1]) in (200, 400, 404), answer
            writer.close()
    assert caplog.records == []


async def test_an_unknown_model() -> None:
    async with facade() as running:
        code, _, answer = await running.get("/v1/models/no/such")
        assert code == 404
        assert answer["error"]["code"] == "model_not_found"
        assert answer["error"]["param"] == "model"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m", "/healthz", "/readyz"])
async def test_head(path: str) -> None:
    async with facade() as running:
        code, headers, body = await running.get(path, "HEAD")
        assert (code, body) == (200, None)
        assert headers["Content-Type"] == "application/json"


async def test_an_unknown_url() -> None:
    async with facade() as running:
        code, headers, answer = await running.get("/v1/foo")
        assert code == 404
        assert answer == {
            "error": {
                "message": "Invalid URL (GET /v1/foo)",
                "type": "invalid_request_error",
                "param": None,
                "code": "unknown_url",
            }
        }
        assert headers["x-should-retry"] == "false"
        for path in ("/", "/v1", "/v1/models/", "/v1/chat/completions/x/y", "/v1/embeddings"):
            assert (await running.get(path))[0] == 404


async def test_a_method_that_is_not_allowed() -> None:
    async with facade() as running:
        code, headers, answer = await running.get("/v1/chat/completions", "PUT")
        assert (code, headers["Allow"]) == (405, "GET, HEAD, POST")
        assert answer["error"]["code"] == "method_not_allowed"
        code, headers, _ = await running.get("/v1/models", "DELETE")
        assert (code, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ";0*", ""]
)
async def test_a_body_that_is_not_said_to_be_json(kind: str) -> None:
    async with facade() as running:
        error = await running.refusal(headers={"Content-Type": kind})
        assert (error["status"], error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: application/json; charset=utf-8",
        "Content-Type: Application/JSON",
        "X-Y: none",
    ],
)
async def test_content_types_that_are_fine(header: str) -> None:
    async with facade() as running:
        body = json.dumps(HELLO).encode()
        reader, writer = await running.raw(post(body, header, "Connection: close"))
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[]", b"[" * 10_000, b'{"model":"\\ud800"}'],
    ids=["empty", "not JSON", "not UTF-8", "not an object", "10,000 levels", "lone surrogate"],
)
async def test_bad_json(body: bytes) -> None:
    async with facade() as running:
        error = await running.refusal(body)
        assert (error["status"], error["type"]) == (400, "invalid_request_error")
        assert (error["param"], error["code"]) == (None, None)


async def test_wrong_types_and_missing_fields() -> None:
    async with facade() as running:
        error = await running.refusal({"messages": []})
        assert (error["status"], error["param"]) == (400, "model")
        assert error["code"] == "missing_required_parameter"
        error = await running.refusal({**HELLO, "temperature": "hot"})
        assert (error["status"], error["param"], error["code"]) == (
            400,
            "temperature",
            "invalid_type",
        )


async def test_forty_megabytes_are_refused_unread() -> None:
    async with facade() as running:
        head = post(b"").replace(b"Content-Length: 0", b"Content-Length: 40000000")
        reader, writer = await running.raw(head)
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"code": "request_too_large"' in answer
        writer.close()


async def test_who_asks_before_sending_forty_megabytes_is_told_not_to() -> None:
    async with facade() as running:
        head = post(b"", "Expect: 100-continue")
        reader, writer = await running.raw(head.replace(b"Length: 0", b"Length: 40000000"))
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 413 ")
        writer.close()
        body = json.dumps(HELLO).encode()
        request = post(body, "Expect: 100-continue", "Connection: close")
        reader, writer = await running.raw(request[: -len(body)])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        reader, writer = await running.raw(post(body, "Expect: miracles", "Connection: close"))
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_forty_megabytes_that_were_sent_are_read_away() -> None:
    """A client that writes before it reads shall see the answer, not a reset."""
    async with facade() as running:
        error = await running.refusal(b" " * 40_000_000)
        assert error["status"] == 413
        assert (await running.ask())[0] == 200


async def test_chunked_bodies_are_cut_off_at_the_limit() -> None:
    async def pieces(count: int) -> Any:
        for _ in range(count):
            yield b" " * 1000

    async with facade(max_body=100_000) as running:
        url = f"{running.url}/v1/chat/completions"
        headers = {**running.headers, "Content-Type": "application/json"}
        async with running.http.post(url, data=pieces(200), headers=headers) as answer:
            assert answer.status == 413
        async with running.http.post(url, data=pieces(50), headers=headers) as answer:
            assert answer.status == 400


async def test_compressed_bodies_count_unpacked() -> None:
    async with facade(max_body=100_000) as running:
        headers = {"Content-Encoding": "deflate"}
        body = zlib.compress(json.dumps(HELLO).encode())
        assert (await running.ask(body, headers=headers))[0] == 200
        bomb = zlib.compress(b" " * 50_000_000)
        assert len(bomb) < 100_000
        assert (await running.refusal(bomb, headers=headers))["status"] == 413
        assert (await running.refusal(b"no zlib", headers=headers))["status"] == 400


async def test_a_broken_chunked_body() -> None:
    async with facade() as running:
        head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        reader, writer = await running.raw(head)
        writer.write(b"2\r\n{}\r\nnonsense\r\n\r\n")
        assert b" 400 " in (await reader.read())[:20]
        writer.close()


async def test_a_body_that_does_not_arrive() -> None:
    async with facade(body_timeout=0.05) as running:
        head = post(b"").replace(b"Content-Length: 0", b"Content-Length: 5")
        reader, writer = await running.raw(head)
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 504 ")
        writer.close()


async def test_a_client_that_leaves_while_sending(caplog: pytest.LogCaptureFixture) -> None:
    async with facade() as running:
        _, writer = await running.raw(post(b"").replace(b"Length: 0", b"Length: 5"))
        writer.write(b"{")
        await running.get("/healthz")
        writer.close()
        await running.get("/healthz")
    assert caplog.records == []


async def test_a_client_that_leaves_cancels_the_call(caplog: pytest.LogCaptureFixture) -> None:
    service = FakeService()
    service.create = service.hang
    async with facade(service) as running:
        _, writer = await running.raw(post(json.dumps(HELLO).encode()))
        await service.called.wait()
        writer.close()
        await service.cancelled.wait()
    assert [record for record in caplog.records if record.name.startswith("diglot")] == []
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_deadline() -> None:
    service = FakeService()
    service.create = service.hang
    async with facade(service, timeout=0.05) as running:
        error = await running.refusal()
        assert (error["status"], error["code"]) == (504, "timeout")
        await service.cancelled.wait()


@pytest.mark.parametrize("name", ["abc", "A.b_c:d-1", "x" * 128])
async def test_a_clients_own_request_id_is_kept(name: str) -> None:
    async with facade() as running:
        _, headers, _ = await running.ask(headers={"X-Request-ID": name})
        assert headers["x-request-id"] == name
        assert running.service.metadata[0]["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, "é", "a\tb", 'a"b'])
async def test_an_unfit_request_id_is_replaced(name: str) -> None:
    async with facade() as running:
        _, headers, _ = await running.ask(headers={"X-Request-ID": name})
        assert len(headers["x-request-id"]) == 36
        assert headers["x-request-id"].startswith("req_")
        assert running.service.metadata[0]["x-request-id"] == headers["x-request-id"]


async def test_every_answer_has_a_request_id_of_its_own() -> None:
    async with facade() as running:
        seen = set()
        for path in ("/healthz", "/v1/foo", "/v1/models", "/v1/models"):
            seen.add((await running.get(path))[1]["x-request-id"])
        assert len(seen) == 4


async def test_an_unexpected_failure_is_logged_and_not_explained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> Any:
        answer = await service._create(request, context)
        answer.choices[0].logprobs.content.add(logprob=float("inf"))
        return answer

    service.create = create
    async with facade(service) as running:
        error = await running.refusal(headers={"x-request-id": "mine"})
        assert (error["status"], error["type"]) == (500, "server_error")
        assert "JSON compliant" not in error["message"]
    record = next(record for record in caplog.records if record.name.startswith("diglot"))
    assert "mine" in record.message
    assert record.exc_info


async def test_health() -> None:
    async with facade() as running:
        running.headers = {}
        assert (await running.get("/healthz"))[::2] == (200, {"status": "ok"})
        assert (await running.get("/readyz"))[::2] == (200, {"status": "ready"})


async def test_a_service_that_is_not_serving() -> None:
    async with facade() as running:
        await running.service.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        code, headers, answer = await running.get("/readyz", headers={})
        assert (code, headers["x-should-retry"]) == (503, "true")
        assert answer["error"]["message"].startswith("The service is not ready: it ")
        assert (await running.get("/healthz", headers={}))[0] == 200


async def test_readiness_does_not_wait_for_long() -> None:
    service = FakeService()
    service.health.Check = service.hang
    async with facade(service, readiness_timeout=0.05) as running:
        code, _, answer = await running.get("/readyz")
        assert code == 503
        assert answer["error"]["message"] == "The service is not ready: it does not answer."


async def test_a_service_that_reports_an_error_of_its_own() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        await context.abort_with_status(status("RATE_LIMIT_EXCEEDED", "Slow down.", retry=2.5))

    service.create = create
    async with facade(service) as running:
        code, headers, answer = await running.ask()
        assert code == 429
        assert headers["Retry-After"] == "3"
        assert headers["x-should-retry"] == "true"
        assert answer["error"]["type"] == "requests"


async def test_a_servicer_that_crashes_tells_nothing() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        raise KeyError("secret")

    service.create = create
    async with facade(service) as running:
        error = await running.refusal()
        assert error["status"] == 500
        assert "secret" not in error["message"]


@pytest.mark.parametrize("name", ["timeout", "body_timeout", "max_body", "keepalive"])
def test_options_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be more than 0, not 0"):
        FacadeOptions(**{name: 0})  # type: ignore[arg-type]  # any of them
