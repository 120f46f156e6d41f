"""Upstreams that fail in every way, beside a good one and alone: what callers see of it."""

from __future__ import annotations

import asyncio
import functools
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from faces import GRPC, HTTP, Faces, faces
from faulty_upstream import (
    Behaviour,
    Exchange,
    FaultyUpstream,
    event,
    head,
    saying,
    status,
    upstream,
)

from diglot.service.upstream.sse import LONGEST_EVENT

TIMEOUT = 0.4
PATIENCE = 60.0
"""Seconds: for those that are to run into it, and for all others."""
NOISE = b"x" * 65536


async def hang(exchange: Exchange) -> None:
    await exchange.gone()


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def hang_after_headers(exchange: Exchange) -> None:
    await exchange.answer()
    await exchange.gone()


async def drip(exchange: Exchange) -> None:
    """Is alive, and gets nowhere."""
    await exchange.answer()
    while True:
        await exchange.send(b": still thinking\n\n")
        await asyncio.sleep(TIMEOUT / 20)


async def garbage(exchange: Exchange) -> None:
    await exchange.send(b"\x00\xff\x00 garbage \r\n\r\n")


async def garbage_events(exchange: Exchange) -> None:
    await exchange.answer()
    await exchange.send(b"data: {{{\n\n")


async def endless_line(exchange: Exchange) -> None:
    await exchange.answer()
    while True:
        await exchange.send(b"data: " + NOISE)


async def endless_header(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while True:
        await exchange.send(NOISE)


async def huge_chunk(exchange: Exchange) -> None:
    """One chunk of HTTP's, 1 GB long."""
    await exchange.send(head(extra="Transfer-Encoding: chunked\r\n"), b"40000000\r\ndata: ")
    while True:
        await exchange.send(NOISE)


@functools.cache
def compressed() -> bytes:
    return gzip.compress(b"data: " + b"x" * 2**26)


async def bomb(exchange: Exchange) -> None:
    """64 MB in 64 kB."""
    await exchange.send(head(extra="Content-Encoding: gzip\r\n"), compressed())


async def endless_body_of_an_error(exchange: Exchange) -> None:
    await exchange.send(head("500 Oops"))
    while True:
        await exchange.send(NOISE)


async def nothing_at_all(exchange: Exchange) -> None:
    await exchange.answer()


async def half_then_reset(exchange: Exchange) -> None:
    await exchange.answer("half")
    exchange.reset()


async def half_then_end(exchange: Exchange) -> None:
    await exchange.answer("half")


async def half_then_hang(exchange: Exchange) -> None:
    await exchange.answer("half")
    await exchange.gone()


async def half_then_drip(exchange: Exchange) -> None:
    await exchange.answer("half")
    while True:
        await exchange.send(b": still thinking\n\n")
        await asyncio.sleep(TIMEOUT / 20)


async def half_then_garbage(exchange: Exchange) -> None:
    await exchange.answer("half")
    await exchange.send(b"data: {{{\n\n")


async def half_then_endless_line(exchange: Exchange) -> None:
    await exchange.answer("half")
    await endless_line(exchange)


async def half_then_an_error(exchange: Exchange) -> None:
    await exchange.answer("half")
    await exchange.send(
        b'data: {"error": {"message": "CUDA out of memory at 0x7f", "code": 500}}\n\n'
    )
    await exchange.send(event(None, "stop"), b"data: [DONE]\n\n")


DOWN = ("UPSTREAM_UNAVAILABLE", 503, "UNAVAILABLE")
INVALID = ("UPSTREAM_INVALID", 502, "INTERNAL")
LIMITED = ("RATE_LIMIT_EXCEEDED", 429, "RESOURCE_EXHAUSTED")


@dataclass(frozen=True)
class Fault:
    name: str
    behave: Behaviour | None
    """None: nobody listens."""
    error: tuple[str, int, str]
    """What callers are told if there is nobody else: reason, HTTP status, gRPC code."""
    words: str
    retry_after: float | None = None

    @property
    def timeout(self) -> float:
        return TIMEOUT if f"{TIMEOUT:g} s" in self.words else PATIENCE


BEFORE = [
    Fault("connection refused", None, DOWN, "cannot be reached, or broke off", 1),
    Fault("reset at once", reset, DOWN, "cannot be reached, or broke off", 1),
    Fault("429", status("429 Slow", "slow down", "Retry-After: 7\r\n"), LIMITED, "slow down", 7),
    Fault("429 without a hint", status("429 Slow", "slow down"), LIMITED, "slow down"),
    Fault("500", status("500 Oops", "secrets of the house"), INVALID, "The upstream failed"),
    Fault("503", status("503 No", extra="Retry-After: 9\r\n"), DOWN, "is not available", 9),
    Fault("529", status("529 Overloaded"), DOWN, "is not available", 1),
    Fault("401", status("401 No", "bad key sk-1234"), DOWN, "does not accept this server's key"),
    Fault("redirect", status("307 There", extra="Location: /v2\r\n"), INVALID, "The upstream fa"),
    Fault("hang", hang, DOWN, "began no answer within 0.4 s", 1),
    Fault("hang after headers", hang_after_headers, DOWN, "began no answer within 0.4 s", 1),
    Fault("slow drip", drip, DOWN, "began no answer within 0.4 s", 1),
    Fault("garbage for HTTP", garbage, DOWN, "cannot be reached, or broke off", 1),
    Fault("garbage for events", garbage_events, INVALID, "an event that is not JSON"),
    Fault("web page", status("200 OK"), INVALID, "something else than a stream"),
    Fault("endless line", endless_line, INVALID, "an event that is too long"),
    Fault("endless header", endless_header, DOWN, "cannot be reached, or broke off", 1),
    Fault("1 GB chunk", huge_chunk, INVALID, "an event that is too long"),
    Fault("bomb", bomb, INVALID, "compressed its answer, unasked"),
    Fault("endless body of a 500", endless_body_of_an_error, INVALID, "The upstream failed"),
    Fault("nothing", nothing_at_all, INVALID, "ended without an answer"),
]
AFTER = [
    Fault("reset", half_then_reset, DOWN, "broke off"),
    Fault("end without finish", half_then_end, DOWN, "broke off in the middle"),
    Fault("hang", half_then_hang, DOWN, "went silent for 0.4 s in the middle"),
    Fault("slow drip", half_then_drip, DOWN, "went silent for 0.4 s in the middle"),
    Fault("garbage", half_then_garbage, INVALID, "an event that is not JSON"),
    Fault("endless line", half_then_endless_line, INVALID, "an event that is too long"),
    Fault("error event", half_then_an_error, INVALID, "The upstream failed"),
]
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


def deployment(base_url: str, weight: float, timeout: float = PATIENCE) -> str:
    return f"""
        [[models.deployments]]
        kind = "upstream"
        base_url = "{base_url}"
        weight = {weight}
        first_token_timeout_seconds = {timeout}
        between_tokens_timeout_seconds = {timeout}
        """


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


async def test_the_fallback_model_answers_when_all_deployments_fail(tmp_path: Path) -> None:
    async with upstream(status("503 No")) as faulty, upstream(saying("well", " said")) as good:
        config = (
            '[[models]]\nname = "m"\nfallback = "other"\n'
            + deployment(faulty.base_url, 1)
            + deployment(f"{faulty.base_url}/", 1).replace("weight", 'name = "b"\nweight')
            + '[[models]]\nname = "other"\nkind = "upstream"\n'
            + f'base_url = "{good.base_url}"\nupstream_model = "real"\n'
        )
        async with faces(tmp_path, config) as both:
            for face in (HTTP, GRPC):
                seen = await both.ask(face)
                assert (seen.text, seen.model, seen.ended) == ("well said", "other", True)
        assert len(faulty.exchanges) == 4
        assert [exchange.body["model"] for exchange in good.exchanges] == ["real", "real"]


async def test_who_leaves_is_noticed_by_whoever_serves(tmp_path: Path) -> None:
    """Also by the one that took over."""
    left = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await exchange.answer("half")
        await exchange.gone()
        left.set()

    async with upstream(status("503 No")) as faulty, upstream(held) as good:
        config = '[[models]]\nname = "m"\n' + deployment(faulty.base_url, 1000)
        async with faces(tmp_path, config + deployment(good.base_url, 0.001)) as both:
            asking = asyncio.ensure_future(both.ask(GRPC))
            while not (good.exchanges and good.exchanges[0].sent):
                await asyncio.sleep(0.01)
            asking.cancel()
            await left.wait()


async def test_names_aliases_wildcards_and_the_default(tmp_path: Path) -> None:
    """What a caller asks for, what the upstream is asked for, and what is listed."""
    async with upstream(saying("well")) as good:
        place = f'kind = "upstream"\nbase_url = "{good.base_url}"\n'
        config = f"""
            default_model = "m"
            [[models]]
            name = "m"
            aliases = ["gpt-4o"]
            upstream_model = "real"
            {place}
            [[models]]
            name = "open/*"
            upstream_model = "*"
            {place}
            [[models]]
            name = "whole/*"
            {place}
            """
        async with faces(tmp_path, config) as both:
            for asked, real in [
                ("m", "real"),
                ("gpt-4o", "real"),
                ("default", "real"),
                ("open/gpt-5", "gpt-5"),
                ("open/a/b", "a/b"),
                ("whole/x", "whole/x"),
            ]:
                for face in (HTTP, GRPC):
                    assert (await both.ask(face, model=asked)).text == "well"
                    assert good.exchanges[-1].body["model"] == real
            assert (await both.ask(HTTP, model="gpt-4")).status == 404
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{both.http}/models") as listed:
                    names = [entry["id"] for entry in (await listed.json())["data"]]
                async with session.get(f"{both.http}/models/open/gpt-5") as found:
                    assert (await found.json())["id"] == "open/gpt-5"
            assert names == ["m", "gpt-4o", "default"]


async def test_one_conversation_goes_to_one_deployment(tmp_path: Path) -> None:
    async with upstream(saying("well")) as one, upstream(saying("well")) as other:
        config = '[[models]]\nname = "m"\n'
        config += deployment(one.base_url, 1) + deployment(other.base_url, 1)
        async with faces(tmp_path, config) as both:
            for number in range(12):
                before = len(one.exchanges), len(other.exchanges)
                for face in (HTTP, GRPC, HTTP):
                    await both.ask(face, prompt_cache_key=f"talk {number}")
                after = len(one.exchanges), len(other.exchanges)
                assert after in ((before[0] + 3, before[1]), (before[0], before[1] + 3))
        assert one.exchanges
        assert other.exchanges
