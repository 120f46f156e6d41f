"""Upstreams that fail in every way, beside a good one and alone: what callers see of it."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faces import GRPC, HTTP, Faces, faces
from faults import AFTER, BEFORE, PATIENCE, Fault, deployment, hang
from faulty_upstream import Behaviour, FaultyUpstream, saying, status, upstream

from diglot.service.upstream.sse import LONGEST_EVENT

REFUSALS = [
    ("400 Bad", 400),
    ("404 No", 404),
    ("413 Large", 413),
    ("422 Bad", 422),
]
before = pytest.mark.parametrize("fault", BEFORE, ids=lambda fault: fault.name)
after = pytest.mark.parametrize("fault", AFTER, ids=lambda fault: fault.name)
on_each_face = pytest.mark.parametrize("face", [HTTP, GRPC])
in_each_mode = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@asynccontextmanager
async def failing(behave: Behaviour | None) -> AsyncIterator[FaultyUpstream]:
    if behave is not None:
        async with upstream(behave) as faulty:
            yield faulty
        return
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens
        yield FaultyUpstream(nobody.getsockname()[1], hang)


@asynccontextmanager
async def beside_a_good_one(
    directory: Path, behave: Behaviour | None, timeout: float = PATIENCE
) -> AsyncIterator[tuple[Faces, FaultyUpstream, FaultyUpstream]]:
    """A model that asks the faulty upstream first."""
    async with failing(behave) as faulty, upstream(saying("well", " said")) as good:
        config = '[[models]]\nname = "m"\n'
        config += deployment(faulty.base_url, 1000, timeout) + deployment(good.base_url, 0.001)
        async with faces(directory, config) as both:
            yield both, faulty, good


@in_each_mode
@on_each_face
@before
async def test_a_fault_before_the_first_token_goes_unnoticed(
    fault: Fault, face: str, stream: bool, tmp_path: Path
) -> None:
    async with beside_a_good_one(tmp_path, fault.behave, fault.timeout) as (both, faulty, good):
        seen = await both.ask(face, stream=stream)
        assert (seen.text, seen.error, seen.ended) == ("well said", None, True)
        assert seen.model == "good"
        assert len(faulty.exchanges) == (fault.behave is not None)
        assert len(good.exchanges) == 1
        for exchange in faulty.exchanges:
            assert exchange.sent < LONGEST_EVENT + 8 * 2**20, "and memory is bounded"


@in_each_mode
@on_each_face
@before
async def test_a_fault_of_the_only_one_is_told(
    fault: Fault, face: str, stream: bool, tmp_path: Path
) -> None:
    reason, http, grpc = fault.error
    async with failing(fault.behave) as faulty:
        config = '[[models]]\nname = "m"\n' + deployment(faulty.base_url, 1, fault.timeout)
        async with faces(tmp_path, config) as both:
            seen = await both.ask(face, stream=stream)
    assert (seen.error, seen.ended, seen.text) == (reason, False, "")
    assert seen.status == (http if face == HTTP else grpc)
    assert fault.words in seen.message
    if face == HTTP:
        assert seen.retry_after == fault.retry_after
    assert "secrets" not in seen.message
    assert "sk-1234" not in seen.message


@in_each_mode
@on_each_face
@after
async def test_a_fault_after_the_first_token_is_the_answers_end(
    fault: Fault, face: str, stream: bool, tmp_path: Path
) -> None:
    """Told as an error, with the half that came; nobody else is asked."""
    reason, http, grpc = fault.error
    async with beside_a_good_one(tmp_path, fault.behave, fault.timeout) as (both, faulty, good):
        seen = await both.ask(face, stream=stream)
        assert (seen.error, seen.ended) == (reason, False)
        assert seen.text == ("half" if stream else "")
        assert fault.words in seen.message
        assert "0x7f" not in seen.message
        if face == GRPC:
            assert seen.status == grpc
        else:
            assert seen.status == (200 if stream else http)
        assert (len(faulty.exchanges), len(good.exchanges)) == (1, 0)
        assert faulty.exchanges[0].sent < LONGEST_EVENT + 8 * 2**20


@in_each_mode
@on_each_face
@pytest.mark.parametrize(("line", "code"), REFUSALS)
async def test_a_refusal_is_passed_on_as_it_is(
    line: str, code: int, face: str, stream: bool, tmp_path: Path
) -> None:
    async with beside_a_good_one(tmp_path, status(line, "not so")) as (both, _, good):
        seen = await both.ask(face, stream=stream)
    assert seen.message == "not so"
    assert seen.status == (code if face == HTTP else "INVALID_ARGUMENT")
    assert seen.error == ("ITS_CODE" if face == HTTP else "UPSTREAM_REFUSED")
    assert not good.exchanges


@pytest.mark.parametrize(
    ("behave", "http_status", "cause"),
    [
        (status("401 No", "bad key sk-1234"), 502, "HTTP 401"),
        (status("403 No", "not from there"), 502, "HTTP 403"),
        (status("404 No", "no such model"), 404, "HTTP 404"),
        (status("500 Oops", "boom"), 502, "HTTP 500"),
        (status("307 There", extra="Location: /v2\r\n"), 502, "HTTP 307"),
        (None, 503, "ConnectionRefusedError: "),
    ],
    ids=["401", "403", "404", "500", "redirect", "connection refused"],
)
async def test_the_log_says_what_the_upstream_did(
    behave: Behaviour | None,
    http_status: int,
    cause: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And not in its words: they can quote keys."""
    caplog.set_level(logging.INFO)
    async with failing(behave) as faulty:
        config = '[[models]]\nname = "m"\n' + deployment(faulty.base_url, 1)
        async with faces(tmp_path, config) as both:
            seen = await both.ask(HTTP)
    assert seen.status == http_status
    (line,) = (vars(each) for each in caplog.records if each.message == "completion")
    assert line["status"] == http_status
    assert cause in line["cause"]
    assert not any("sk-1234" in str(vars(each)) for each in caplog.records)


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """It would carry the key to whoever the upstream names."""
    async with upstream(saying("stolen")) as thief:
        location = f"Location: {thief.base_url}/chat/completions\r\n"
        async with upstream(status("308 There", extra=location)) as faulty:
            config = '[[models]]\nname = "m"\n' + deployment(faulty.base_url, 1)
            async with faces(tmp_path, config) as both:
                seen = await both.ask(HTTP)
        assert seen.error == "UPSTREAM_INVALID"
        assert not thief.exchanges
