"""What the soak's clients ask, and what they must be told.

Each kind of call knows the one right answer to it, which is a function of its question: an answer
that belongs to another call is wrong, as is a piece of it.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc

from .planned_upstream import FAULTS, HANG, Plan, answer, prompt_tokens
from .soak_clients import Clients, Enough, Heard

PLANNED, SCRIPTED = "planned", "scripted"
"""Names of the models."""

_PATIENCE = 60.0
"""Seconds after which an answer counts as lost."""
SLOW_PATIENCE = 300.0
"""Likewise, of the real model: two threads that wait for each other are very slow on a machine
that has other work, which is not what is asked here."""
_TOO_LATE = 0.3
"""Seconds: the deadline of those that are to run into it."""


class WrongError(Exception):
    """An answer that is not the one to this question."""


class LostError(Exception):
    """No answer, or not all of it, or an error that there was no reason for."""


def _must(true: object, what: object) -> None:
    if not true:
        raise WrongError(str(what)[:300])


def question() -> str:
    """One that nobody else asks."""
    return " ".join(("what", *["is"] * random.randrange(5), secrets.token_hex(8)))


def _whole(heard: Heard, asked: str, tokens: int) -> None:
    if heard.error is not None or not heard.ended:
        raise LostError(f"{heard.error}, ended: {heard.ended}")
    _must(heard.text == answer(asked, tokens), f"{heard.text!r} to {asked!r}")
    _must(heard.tokens == (prompt_tokens(asked), tokens), heard.tokens)


async def answered(clients: Clients) -> None:
    asked, tokens = question(), random.choice((1, 3, 20, 200))
    plan = Plan(tokens=tokens, pause=random.choice((0, 0, 0.005)) if tokens < 50 else 0)
    _whole(await clients.ask(PLANNED, asked, plan=plan.json()), asked, tokens)


async def read_slowly(clients: Clients) -> None:
    asked, tokens = question(), 400
    heard = await clients.ask(
        PLANNED, asked, stream=True, pause=0.005, plan=Plan(tokens=tokens).json()
    )
    _whole(heard, asked, tokens)


async def left(clients: Clients) -> None:
    """Before the first token, or after any."""
    asked, tokens = question(), random.choice((0, 0, 1, 5, 50))
    plan = Plan(name=asked, tokens=tokens, then=HANG, pause=random.choice((0, 0.002)))
    text = answer(asked, tokens)
    if tokens:
        heard = await clients.ask(
            PLANNED,
            asked,
            stream=True,
            enough=lambda heard: len(heard.text) >= len(text),
            plan=plan.json(),
        )
        _must(heard.text == text, f"{heard.text!r} to {asked!r}")
        return
    asking = asyncio.ensure_future(clients.ask(PLANNED, asked, plan=plan.json()))
    await asyncio.sleep(random.random() * 0.05)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def failed(clients: Clients) -> None:
    asked, tokens = question(), random.choice((0, 1, 20))
    plan = Plan(tokens=tokens, then=random.choice(FAULTS))
    heard = await clients.ask(PLANNED, asked, plan=plan.json())
    _must(not heard.ended, "ended well")
    _must(heard.error in ("upstream_unavailable", "upstream_invalid"), heard.error)
    _must(answer(asked, tokens).startswith(heard.text), f"{heard.text!r} to {asked!r}")


async def refused(clients: Clients) -> None:
    plan = Plan(status=random.choice((400, 500, 503)))
    heard = await clients.ask(PLANNED, question(), plan=plan.json())
    wanted = {400: "upstream_refused", 500: "upstream_invalid", 503: "upstream_unavailable"}
    _must(heard.error in (wanted[plan.status], "None"), heard.error)
    _must(not heard.text, heard.text)


async def late(clients: Clients) -> None:
    asked, tokens = question(), random.choice((0, 3))
    plan = Plan(tokens=tokens, then=HANG)
    heard = await clients.ask(PLANNED, asked, timeout=_TOO_LATE, plan=plan.json())
    _must(heard.error in ("timeout", "deadline_exceeded"), heard.error)
    _must(answer(asked, tokens).startswith(heard.text), f"{heard.text!r} to {asked!r}")


async def called(clients: Clients) -> None:
    """A tool, or JSON."""
    asked = question()
    if random.random() < 0.5:
        said = json.dumps({"answer": asked})
        heard = await clients.ask(SCRIPTED, asked, scripted={"content": said})
        if heard.error is not None or not heard.ended:
            raise LostError(str(heard.error))
        _must(heard.text == said, f"{heard.text!r} to {asked!r}")
        return
    arguments = json.dumps({"city": asked})
    heard = await clients.ask(
        SCRIPTED,
        asked,
        face="http",
        stream=False,
        tools=[{"type": "function", "function": {"name": "weather"}}],
        scripted={"tool_calls": [{"name": "weather", "arguments": arguments}]},
    )
    if heard.error is not None or not heard.ended:
        raise LostError(str(heard.error))
    [call] = heard.message["tool_calls"]
    _must(call["function"] == {"name": "weather", "arguments": arguments}, call)


async def stored(clients: Clients) -> None:
    asked = question()
    plan = Plan(tokens=5)
    heard = await clients.ask(PLANNED, asked, store=True, plan=plan.json())
    _whole(heard, asked, 5)
    async with clients.session() as session:
        url = f"{clients.url}/chat/completions/{heard.id}"
        async with session.get(url) as found:
            if found.status != 200:
                raise LostError(f"stored, and {found.status}")
            kept = (await found.json())["choices"][0]["message"]["content"]
            _must(kept == answer(asked, 5), kept)
        async with session.delete(url) as gone:
            _must(gone.status == 200, gone.status)


_MALFORMED: tuple[tuple[Any, int], ...] = (
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b"[]", 400),
    ({}, 400),
    ({"model": PLANNED}, 400),
    ({"model": "nobody", "messages": [{"role": "user", "content": "x"}]}, 404),
    ({"model": PLANNED, "messages": [{"role": "user", "content": "x"}], "temperature": 3}, 400),
)


async def malformed(clients: Clients) -> None:
    if random.random() < 0.3:
        reader, writer = await asyncio.open_connection(*clients.address.rsplit(":", 1))
        rubbish = random.choice((b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"PRI * HTTP/2\r\n\r\n"))
        # At once: what came after the answer would be answered with a reset.
        writer.write(rubbish + b"\r\n\r\n")
        told = await reader.read()
        writer.close()
        _must(not told or told.split()[1] == b"400", told)
        return
    body, status = random.choice(_MALFORMED)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if random.random() < 0.2:
        headers["Authorization"], status = "Bearer dg-00000000-nobody", 401
    async with (
        clients.session() as session,
        session.post(f"{clients.url}/chat/completions", data=data, headers=headers) as response,
    ):
        _must(response.status == status, f"{response.status} to {body!r}")


async def of_the_real_model(clients: Clients, model: str) -> None:
    enough: Enough | None = None
    if random.random() < 0.3:
        enough = lambda heard: len(heard.text) > 10  # noqa: E731
    heard = await clients.ask(
        model, f"Tell me of {question()}.", stream=None if enough is None else True,
        enough=enough, max_tokens=16,
    )  # fmt: skip
    if enough is not None and enough(heard):
        return
    if heard.error is not None or not heard.ended:
        raise LostError(str(heard.error))
    _must(heard.tokens and 1 <= heard.tokens[1] <= 16, heard.tokens)


KINDS: dict[Callable[[Clients], Awaitable[None]], int] = {
    answered: 40,
    read_slowly: 2,
    left: 15,
    failed: 10,
    refused: 5,
    late: 3,
    called: 10,
    stored: 5,
    malformed: 10,
}
"""And how many of a hundred are of it."""


@dataclass
class Tally:
    """How it went."""

    calls: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    async def count(self, name: str, call: Awaitable[None], patience: float = _PATIENCE) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        try:
            async with asyncio.timeout(patience):
                await call
        except WrongError as error:
            self._keep(self.wrong, "wrong", f"{name}: {error}")
        except (LostError, aiohttp.ClientError, grpc.aio.AioRpcError, OSError, ValueError) as error:
            self._keep(self.lost, "lost", f"{name}: {type(error).__name__}: {str(error)[:300]}")

    def _keep(self, kept: list[str], what: str, said: str) -> None:
        """Tells at once, too: the server's log is at hand only while it runs."""
        kept.append(said)
        minutes = (time.perf_counter() - self.began) / 60
        print(f"{minutes:5.1f} min: {what}: {said}", file=sys.stderr, flush=True)
