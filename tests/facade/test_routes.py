"""Paths and methods, models by their names, health."""

from __future__ import annotations

import json

import pytest
from grpc_health.v1 import health_pb2

from .fake import KEY, FakeService, facade


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


async def test_a_path_is_known_again_only_by_its_own_spelling() -> None:
    async with facade() as running:
        reader, writer = await running.raw(b"")
        for path, status, said in [
            ("/v1/models/{id}", 200, b'"id":"{id}"'),
            ("/v1/models/m", 200, b'"id":"m"'),
            ("/v1/models/{id}", 200, b'"id":"{id}"'),
            ("/v1/models", 200, b'"list"'),
            ("/v1/models?after=m", 200, b'"list"'),
            ("/v1%2Fmodels", 404, b"Invalid URL"),
            ("/v1/mod%65ls", 200, b'"list"'),
            ("/v1/models", 200, b'"list"'),
        ]:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
            assert (int(head.split(b" ")[1]), said in answer) == (status, True), (path, answer)
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


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/chat/completions"),
        ("GET", "/chat/completions"),
        ("DELETE", "/chat/completions"),
        ("GET", "/models"),
        ("GET", "/models/org/name:tag"),
        ("GET", "/models?after=m"),
        ("GET", "/chat/completions/chatcmpl-1/messages"),
    ],
)
async def test_a_base_url_without_v1(method: str, path: str) -> None:
    """Whatever the method: the path is what is wrong first."""
    async with facade() as running:
        code, _, answer = await running.get(path, method)
        path = path.partition("?")[0]
        assert (code, answer["error"]["code"]) == (404, "unknown_url")
        said = f"Invalid URL ({method} {path}): did you mean /v1{path}?"
        assert answer["error"]["message"] == said


@pytest.mark.parametrize(
    "path", [b"/chat", b"/embeddings", b"/models/", b"/v1/chat", b"//models", b"*", b"/%", b"/%ff"]
)
async def test_nothing_is_proposed_where_nothing_is_known(path: bytes) -> None:
    async with facade() as running:
        reader, _ = await running.raw(
            b"OPTIONS " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Authorization: Bearer " + KEY.encode() + b"\r\n\r\n"
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"did you mean" not in answer


async def test_what_is_proposed_is_short_and_may_be_no_unicode() -> None:
    async with facade() as running:
        for path in (b"/models/" + b"x" * 5000, b"/models/%ff%0a"):
            reader, _ = await running.raw(
                b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Authorization: Bearer " + KEY.encode() + b"\r\n\r\n"
            )
            head, body = (await reader.read()).split(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404 ")
            message = json.loads(body)["error"]["message"]
            assert "did you mean /v1/models/" in message
            assert len(message) < 600


async def test_a_method_that_is_not_allowed() -> None:
    async with facade() as running:
        code, headers, answer = await running.get("/v1/chat/completions", "PUT")
        assert (code, headers["Allow"]) == (405, "GET, HEAD, POST")
        assert answer["error"]["code"] == "method_not_allowed"
        code, headers, _ = await running.get("/v1/models", "DELETE")
        assert (code, headers["Allow"]) == (405, "GET, HEAD")


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
