"""What can be wrong with an upstream, and what its callers are told."""

from __future__ import annotations

import asyncio
import functools
import gzip
from dataclasses import dataclass

from faulty_upstream import Behaviour, Exchange, event, head, status

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
    Fault("500", status("500 Oops", "secrets of the house"), INVALID, "The upstream failed", 1),
    Fault("501", status("501 Never"), INVALID, "The upstream failed"),
    Fault("503", status("503 No", extra="Retry-After: 9\r\n"), DOWN, "is not available", 9),
    Fault("529", status("529 Overloaded"), DOWN, "is not available", 1),
    Fault("401", status("401 No", "bad key sk-1234"), INVALID, "does not accept this server's key"),
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
    Fault("endless body of a 500", endless_body_of_an_error, INVALID, "The upstream failed", 1),
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


def deployment(base_url: str, weight: float, timeout: float = PATIENCE) -> str:
    return f"""
        [[models.deployments]]
        kind = "upstream"
        base_url = "{base_url}"
        weight = {weight}
        first_token_timeout_seconds = {timeout}
        between_tokens_timeout_seconds = {timeout}
        """
