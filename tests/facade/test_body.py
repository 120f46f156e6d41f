"""Bodies: their kinds, their size, and how they arrive."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest

from .fake import HELLO, FakeService, completion, facade, post


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


async def test_a_number_that_is_too_large_is_found_under_its_key() -> None:
    async with facade() as running:
        body = json.dumps({**HELLO, "fine": [1], "foo": {"bar": [7]}}).replace("7", "1e999")
        error = await running.refusal(body.encode())
        assert (error["status"], error["param"], error["code"]) == (400, "foo", "invalid_value")
        assert error["message"] == "Invalid value for 'foo': a number in it is too large."


async def test_what_nobody_has_to_expect_is_not_expected() -> None:
    """HTTP leaves it open, and with a body it was never refused."""
    async with facade() as running:
        headers = {**running.headers, "Expect": "nonsense"}
        assert (await running.get("/v1/models", headers=headers))[0] == 200


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


@pytest.mark.parametrize("coding", ["br", "zstd", "foo", "x-gzip", "gzip, deflate", "é"])
async def test_a_coding_that_nobody_undoes_is_named(coding: str) -> None:
    """Also where it was not used at all: a body is not read as another than it is said to be."""
    async with facade() as running:
        request = post(json.dumps(HELLO).encode(), f"Content-Encoding: {coding}")
        reader, writer = await running.raw(request)
        head, body = (await reader.readuntil(b"}}")).split(b"\r\n\r\n")
        assert head.split(b" ")[1] == b"415"
        assert b"Accept-Encoding: gzip, deflate" in head
        error = json.loads(body)["error"]
        assert (error["type"], error["code"]) == (
            "invalid_request_error",
            "unsupported_media_type",
        )
        assert f"'{coding}'" in error["message"]
        assert "gzip or deflate" in error["message"]
        assert "CreateChatCompletion" not in running.service.calls
        writer.close()


async def test_a_coding_is_named_in_short() -> None:
    async with facade() as running:
        error = await running.refusal(b"{}", headers={"Content-Encoding": "x" * 8000})
        assert error["status"] == 415
        assert len(error["message"]) < 250


async def test_two_codings_in_two_headers_are_two() -> None:
    async with facade() as running:
        body = zlib.compress(json.dumps(HELLO).encode())
        headers = ("Content-Encoding: deflate", "Content-Encoding: identity", "Connection: close")
        reader, writer = await running.raw(post(body, *headers))
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 415 ")
        assert b"'deflate, identity'" in answer
        writer.close()


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "identity", ""])
async def test_codings_that_are_undone(coding: str) -> None:
    plain = json.dumps(HELLO).encode()
    coded = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}.get(
        coding.lower(), plain
    )
    async with facade() as running:
        request = post(coded, f"Content-Encoding: {coding}", "Connection: close")
        reader, writer = await running.raw(request)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_coded_body_that_ends_too_early() -> None:
    async with facade() as running:
        coded = zlib.compress(json.dumps(HELLO).encode())[:-6]
        reader, writer = await running.raw(post(coded, "Content-Encoding: deflate"))
        answer = await reader.read()
        assert answer.split(b" ")[1] == b"400"
        assert b"The body of your request is not encoded as its headers say." in answer
        writer.close()


async def test_a_broken_chunked_body() -> None:
    async with facade() as running:
        head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        reader, writer = await running.raw(head)
        writer.write(b"2\r\n{}\r\nnonsense\r\n\r\n")
        assert b" 400 " in (await reader.read())[:20]
        writer.close()


CHUNKED = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("broken", [b"nonsense\r\n", b"2\r\n{}}\r\n"], ids=["size", "end"])
async def test_a_chunked_body_that_breaks_later_is_refused_at_once(broken: bytes) -> None:
    """And not when the time for bodies is over: nobody will send the rest of it."""
    async with facade() as running:
        reader, writer = await running.raw(CHUNKED + b"1\r\n{\r\n")
        await running.get("/healthz")
        writer.write(broken)
        head, body = (await asyncio.wait_for(reader.read(), 20)).split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"Connection: close" in head
        error = json.loads(body)["error"]
        assert error["message"] == "The body of your request is not encoded as its headers say."


async def test_a_body_that_breaks_while_its_request_waits_is_refused_in_its_turn() -> None:
    service = FakeService()
    go_on = asyncio.Event()

    async def create(request: Any, context: Any) -> Any:
        service.called.set()
        await go_on.wait()
        return completion()

    service.create = create
    async with facade(service) as running:
        reader, writer = await running.raw(post(json.dumps(HELLO).encode()))
        await service.called.wait()
        writer.write(CHUNKED + b"1\r\n{\r\n")
        await running.get("/healthz")
        writer.write(b"nonsense\r\n")
        await running.get("/healthz")
        go_on.set()
        answers = (await asyncio.wait_for(reader.read(), 20)).split(b"HTTP/1.1 ")
        assert [answer[:3] for answer in answers] == [b"", b"200", b"400"]


async def test_a_body_that_does_not_arrive() -> None:
    async with facade(body_timeout=0.05) as running:
        head = post(b"").replace(b"Content-Length: 0", b"Content-Length: 5")
        reader, writer = await running.raw(head)
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_client_that_leaves_while_sending(caplog: pytest.LogCaptureFixture) -> None:
    async with facade() as running:
        _, writer = await running.raw(post(b"").replace(b"Length: 0", b"Length: 5"))
        writer.write(b"{")
        await running.get("/healthz")
        writer.close()
        await running.get("/healthz")
    assert caplog.records == []
