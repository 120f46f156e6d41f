"""Web pages of other origins: what a browser asks, and what it must be told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .fake import HELLO, Facade, facade, post

PAGE = "https://app.example"
ANOTHER = "https://evil.example"

# What Chromium sends before OpenAI's SDK may ask.
SDK_HEADERS = (
    "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout"
)


async def leave(
    running: Facade, origin: str = PAGE, path: str = "/v1/chat/completions", method: str = "POST"
) -> tuple[int, Any]:
    """The answer to a preflight, which has no key."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": SDK_HEADERS,
    }
    code, sent, body = await running.get(path, method="OPTIONS", headers=headers)
    assert body is None or code != 204
    return code, sent


def cors(headers: Any) -> dict[str, str]:
    """Those that mean anything to a browser."""
    return {
        name.lower(): value
        for name, value in headers.items()
        if name.lower().startswith("access-control-") or name == "Vary"
    }


NAMED = {
    "access-control-allow-origin": PAGE,
    "access-control-expose-headers": "x-request-id, x-should-retry, Retry-After",
    "vary": "Origin",
}


async def test_a_page_gets_leave_without_a_key() -> None:
    async with facade(allowed_origins=(PAGE,)) as running:
        code, headers = await leave(running)
        assert code == 204
        assert cors(headers) == {
            **NAMED,
            "access-control-allow-methods": "GET, POST, DELETE",
            "access-control-allow-headers": "Authorization, *",
            "access-control-max-age": "86400",
        }
        assert "Content-Length" not in headers
        assert headers["x-request-id"]
        assert running.service.calls == []


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions/x", "/openapi.json", "/no"])
async def test_leave_is_given_for_every_path(path: str) -> None:
    """Also where there is nothing: or a page could not read that there is nothing."""
    async with facade(allowed_origins=(PAGE,)) as running:
        assert (await leave(running, path=path, method="DELETE"))[0] == 204


async def test_a_page_can_read_answers_and_errors() -> None:
    async with facade(allowed_origins=(PAGE,)) as running:
        origin = {"Origin": PAGE}
        code, headers, _ = await running.ask(headers=origin)
        assert (code, cors(headers)) == (200, NAMED)
        code, headers, _ = await running.ask({"model": 3}, headers=origin)
        assert (code, cors(headers)) == (400, NAMED)
        for path, status in (("/v1/models", 401), ("/nowhere", 401), ("/openapi.json", 200)):
            code, headers, _ = await running.get(path, headers=origin)
            assert (code, cors(headers)) == (status, NAMED)
        code, headers, _ = await running.get("/nowhere", headers={**running.headers, **origin})
        assert (code, cors(headers)) == (404, NAMED)


async def test_a_page_can_read_streams() -> None:
    async with facade(allowed_origins=(PAGE,)) as running:
        body = json.dumps({**HELLO, "stream": True}).encode()
        reader, _ = await running.raw(post(body, f"Origin: {PAGE}"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:-1]
        assert cors(dict(line.split(": ", 1) for line in head)) == NAMED
        await reader.readuntil(b"data: [DONE]")


async def test_other_pages_get_no_leave() -> None:
    """Their browsers keep from them what they were answered."""
    async with facade(allowed_origins=(PAGE,)) as running:
        for origin in (ANOTHER, "null", f"{PAGE}:8443", f"{PAGE}.evil.example"):
            code, headers = await leave(running, origin)
            assert (code, cors(headers)) == (401, {"vary": "Origin"})
            code, headers, _ = await running.ask(headers={"Origin": origin})
            assert (code, cors(headers)) == (200, {"vary": "Origin"})


async def test_all_pages_get_leave_where_all_are_allowed() -> None:
    """And the answer is the same for each of them, so that a cache may give it to any."""
    async with facade(allowed_origins=("*",)) as running:
        for origin in (PAGE, ANOTHER, "null"):
            code, headers = await leave(running, origin)
            assert (code, headers["Access-Control-Allow-Origin"]) == (204, "*")
            assert "Vary" not in headers
        code, headers, _ = await running.ask()
        assert (code, headers["Access-Control-Allow-Origin"]) == (200, "*")


async def test_what_only_looks_like_a_preflight_is_refused_as_ever() -> None:
    async with facade(allowed_origins=(PAGE,)) as running:
        headers = {**running.headers, "Origin": PAGE}
        code, sent, _ = await running.get("/v1/models", method="OPTIONS", headers=headers)
        assert (code, cors(sent)) == (405, NAMED)
        code, _, _ = await running.get("/v1/models", headers={"Origin": PAGE})
        assert code == 401


async def test_unless_it_is_configured_no_page_gets_leave() -> None:
    async with facade() as running:
        code, headers = await leave(running)
        assert (code, cors(headers)) == (401, {})
        code, headers, _ = await running.ask(headers={"Origin": PAGE})
        assert (code, cors(headers)) == (200, {})
