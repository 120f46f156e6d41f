"""No key, no answer, except for health."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .fake import HELLO, KEY, FakeService, facade, post, status

MALFORMED = "The Authorization header of your request is not of the form 'Bearer KEY'"
PATHS = [
    "/v1/models",
    "/v1/models/m",
    "/v1/chat/completions",
    "/v1/foo",
    "/v1",
    "/",
    "/favicon.ico",
]


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_key(path: str) -> None:
    async with facade() as running:
        code, headers, answer = await running.get(path, headers={})
        assert code == 401
        assert headers["WWW-Authenticate"] == "Bearer"
        assert headers["x-should-retry"] == "false"
        assert answer["error"]["code"] == "invalid_api_key"
        assert answer["error"]["message"].startswith("You didn't provide an API key.")
        assert running.service.calls == []


@pytest.mark.parametrize("path", PATHS)
async def test_with_a_wrong_key(path: str) -> None:
    async with facade() as running:
        code, headers, answer = await running.get(path, headers={"Authorization": "Bearer nope"})
        assert code == 401
        assert headers["WWW-Authenticate"] == "Bearer"
        assert answer["error"]["message"] == "Incorrect API key provided."


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("", "You didn't provide an API key."),
        ("Bearer", "You didn't provide an API key."),
        ("Bearer ", "You didn't provide an API key."),
        (KEY, MALFORMED),
        (f"Basic {KEY}", MALFORMED),
        (f"Bearer {KEY} x", MALFORMED),
        (f"Bearer {KEY}\tx", MALFORMED),
        (f"Bearer {KEY}é", MALFORMED),
        (f"Bearer {KEY}\x80", MALFORMED),
        ("Bearer " + "x" * 4097, MALFORMED),
        ("Bearer " + "x" * 7000, MALFORMED),
    ],
)
async def test_a_header_that_cannot_hold_a_key(header: str, says: str) -> None:
    async with facade() as running:
        reader, writer = await running.raw(
            b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: "
            + header.encode("utf-8" if header.endswith("é") else "latin1")
            + b"\r\n\r\n"
        )
        head, body = (await reader.read()).split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        error = json.loads(body)["error"]
        assert error["code"] == "invalid_api_key"
        assert error["message"].startswith(says)
        assert KEY not in error["message"]
        assert running.service.calls == []
        writer.close()


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer   {KEY}", f"BEARER {KEY}"])
async def test_the_scheme_in_any_case(header: str) -> None:
    async with facade() as running:
        code, _, _ = await running.get("/v1/models", headers={"Authorization": header})
        assert code == 200
        assert running.service.metadata[0]["authorization"] == f"Bearer {KEY}"


async def test_the_longest_key_fits_into_metadata() -> None:
    async with facade() as running:
        headers = {"Authorization": "Bearer " + "x" * 4096, "x-request-id": "y" * 128}
        _, _, answer = await running.get("/v1/models", headers=headers)
        assert answer["error"]["message"] == "Incorrect API key provided."


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("PUT", "/v1/chat/completions", None, {}),
        ("POST", "/v1/models", None, {}),
        ("POST", "/v1/chat/completions", b"{", {}),
        ("POST", "/v1/chat/completions", b"{}", {}),
        ("POST", "/v1/chat/completions", b"{}", {"Content-Type": "text/plain"}),
        ("POST", "/v1/chat/completions", b" " * 1_000_000, {}),
    ],
)
async def test_a_refusal_is_for_callers_with_a_key(
    method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    async with facade(max_body=500_000) as running:
        headers = {"Authorization": "Bearer nope", **headers}
        code, _, answer = await running.get(path, method, headers=headers, data=body)
        assert code == 401
        assert answer["error"]["message"] == "Incorrect API key provided."
        assert running.service.calls == ["ListModels"]


async def test_large_bodies_are_taken_from_callers_with_a_key() -> None:
    async with facade() as running:
        head = post(b"", key="nope").replace(b"Length: 0", b"Length: 100000")
        reader, writer = await running.raw(head)
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 401 ")
        writer.close()
        head = post(b"", key="nope").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        reader, writer = await running.raw(head)
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 401 ")
        writer.close()
        large = {**HELLO, "user": "x" * 100_000}
        running.service.calls.clear()
        assert (await running.ask(large))[0] == 200
        assert running.service.calls == ["ListModels", "CreateChatCompletion"]


async def test_a_good_request_costs_one_call() -> None:
    async with facade() as running:
        await running.ask()
        assert running.service.calls == ["CreateChatCompletion"]


async def test_a_key_that_cannot_be_checked_is_not_taken_for_a_good_one() -> None:
    service = FakeService()

    async def broken(request: Any, context: Any) -> None:
        await context.abort_with_status(status("INTERNAL", "Broken."))

    service.ListModels = broken  # type: ignore[method-assign]
    async with facade(service) as running:
        assert (await running.get("/v1/foo"))[0] == 500


async def test_where_no_key_is_required() -> None:
    service = FakeService()
    seen = []

    async def enter(name: str, request: Any, context: Any) -> None:
        seen.append(dict(context.invocation_metadata()).get("authorization"))

    service._enter = enter  # type: ignore[method-assign]
    async with facade(service, require_key=False) as running:
        for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer y"}):
            assert (await running.get("/v1/models", headers=headers))[0] == 200
        assert seen == [None, None, "Bearer y"]
        assert (await running.get("/v1/foo", headers={}))[0] == 404
        running.headers = {}
        assert (await running.refusal(b"{"))["status"] == 400
        assert len(seen) == 3


async def test_health_needs_no_key() -> None:
    async with facade() as running:
        for path in ("/healthz", "/readyz"):
            assert (await running.get(path, headers={}))[0] == 200
            assert (await running.get(path, "POST", headers={}))[0] == 405


async def test_no_answer_repeats_a_key() -> None:
    async with facade() as running:
        body = json.dumps(HELLO).encode()
        reader, writer = await running.raw(post(body, "Connection: close", key="very-secret"))
        assert b"very-secret" not in await reader.read()
        writer.close()
