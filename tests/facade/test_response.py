"""The head of an answer, which the façade writes by itself."""

from __future__ import annotations

import pytest

from .fake import facade, post


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param("GET /healthz HTTP/1.1\r\nHost: x", None, id="1.1"),
        pytest.param("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close", b"close", id="close"),
        pytest.param(
            "GET /healthz HTTP/1.0\r\nConnection: keep-alive", b"keep-alive", id="1.0 keep-alive"
        ),
        pytest.param("GET /healthz HTTP/1.0", b"close", id="1.0"),
    ],
)
async def test_it_says_whether_the_connection_goes_on(asked: str, said: bytes | None) -> None:
    async with facade() as running:
        reader, writer = await running.raw(asked.encode() + b"\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(asked.split()[2].encode() + b" 200 OK\r\n")
        found = [line for line in head.split(b"\r\n") if line.startswith(b"Connection: ")]
        assert found == ([b"Connection: " + said] if said else [])
        assert await reader.readexactly(15) == b'{"status":"ok"}'
        if said == b"close":
            assert await reader.read() == b""
        else:
            writer.write(asked.encode() + b"\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n")


async def test_head_has_the_length_and_no_body() -> None:
    async with facade() as running:
        reader, writer = await running.raw(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"\r\nContent-Length: 15\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_every_answer_says_the_same_of_itself() -> None:
    async with facade() as running:
        for request in (post(b"{"), b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"?\r\n\r\n"):
            reader, _ = await running.raw(request)
            head = await reader.readuntil(b"\r\n\r\n")
            for line in (b"Server: diglot", b"Date: ", b"Content-Type: application/json"):
                assert head.count(b"\r\n" + line) == 1
            assert b"\r\nx-request-id: req_" in head
