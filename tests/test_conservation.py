"""What is accounted is what was delivered, to the token: whoever leaves, whatever fails.

`service/meter.py` says what delivered work is. Hundreds of random calls over both faces, and an
upstream in a process of its own that says what it produced for each, which is compared with the
log's lines. Each call ends where it is known what had been delivered:

- who left, had heard (streamed) or could have heard (whole) all that was produced until then;
- what failed in the middle of a stream, or was cut by its deadline, was heard to its end.

Where calls are cut at any moment at all, the account lies between what was heard and what was
produced; that is another test.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from account_log import account_log
from bench.planned_upstream import (
    CLOSE,
    END,
    ERROR,
    GARBAGE,
    HANG,
    RESET,
    TORN,
    Plan,
    answer,
    prompt_tokens,
)
from bench.upstream_process import Books, upstream_process
from faces import GRPC, HTTP, Faces, Seen, faces
from serving import ask, scripted_service

from diglot.burst import chunks_of
from diglot.service.call import Call
from diglot.service.errors import EngineLost
from diglot.v1.chat_pb2_grpc import ChatServiceStub

SEEDS = (1, 2)
CALLS = 150
AT_A_TIME = 24

WHOLE, FAILS, LEFT, LATE, REFUSED = "whole", "fails", "left", "late", "refused"
WAYS = (WHOLE, WHOLE, FAILS, FAILS, LEFT, LEFT, LEFT, LATE, REFUSED)
OUTCOMES = {
    WHOLE: {"ok"},
    FAILS: {"upstream_unavailable", "upstream_invalid"},
    LEFT: {"cancelled"},
    LATE: {"deadline_exceeded"},
    REFUSED: {"upstream_refused", "rate_limit_exceeded", "upstream_unavailable"},
}
DEADLINE = 1.0
"""Seconds."""


@dataclass
class Asked:
    """One call, and what came of it."""

    way: str
    face: str
    stream: bool
    plan: Plan
    question: str
    seen: Seen
    produced: int = 0

    @property
    def delivered(self) -> int:
        """How many tokens, by the upstream's books, or by those who heard them."""
        if self.way in (FAILS, LATE) and self.stream:
            # Each word has one. What a reset cut off is lost.
            return self.seen.text.count(" ")
        return self.produced

    @property
    def prompt(self) -> int:
        """What it is known to have cost."""
        told = self.plan.each or self.way == WHOLE
        return prompt_tokens(self.question) if told and self.delivered else 0


def drawn(random: random.Random, number: int) -> Asked:
    """A call as chance will have it."""
    way = random.choice(WAYS)
    then = {WHOLE: END, FAILS: random.choice((RESET, CLOSE, GARBAGE, TORN, ERROR))}.get(way, HANG)
    stream = random.random() < 0.6
    tokens = random.choice((0, 1, 2, 7, 8, 40))
    if way == FAILS and not stream and then == RESET:
        then = CLOSE  # of a whole answer nobody knows what the reset let through
    if way == LATE and not stream:
        tokens = 0  # nor what a busy machine had read before the deadline; see test_chaos.py
    plan = Plan(
        name=f"call-{number}",
        tokens=max(tokens, 1) if way == WHOLE else tokens,
        then=then,
        status=random.choice((400, 429, 503)) if way == REFUSED else 200,
        each=random.random() < 0.5,
    )
    question = " ".join(["why"] * random.randrange(1, 9) + [str(number)])
    return Asked(way, random.choice((HTTP, GRPC)), stream, plan, question, Seen())


async def carry_out(asked: Asked, both: Faces, books: Books) -> None:
    plan, seen = asked.plan, asked.seen
    asking = asyncio.ensure_future(
        both.ask(
            asked.face,
            asked.question,
            stream=asked.stream,
            seen=seen,
            vendor={"plan": plan.json()},
            headers={"x-request-id": plan.name},
            timeout=DEADLINE if asked.way == LATE else None,
        )
    )
    if asked.way == LEFT:
        await books.entry(plan.name, produced=plan.tokens)
        if asked.stream:
            await seen.until(lambda seen: seen.text == answer(asked.question, plan.tokens))
        else:
            # What the books tell has gone out; until they have told two times more, the loop
            # that we share with the server has taken it in.
            for _ in range(2):
                await books.entry(plan.name)
        asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    if asked.way == REFUSED:
        return
    asked.produced = await produced_in_the_end(asked, books)


async def produced_in_the_end(asked: Asked, books: Books) -> int:
    # On a machine that is busy enough, time runs out before the upstream is asked.
    if asked.way == LATE and asked.plan.name not in await books.ledger():
        return 0
    try:
        async with asyncio.timeout(40):
            return (await books.entry(asked.plan.name, over=True)).produced
    except TimeoutError:
        ledger = (await books.ledger()).get(asked.plan.name)
        raise AssertionError(f"the upstream goes on: {asked} {ledger}") from None


async def all_of(calls: list[Asked], both: Faces, books: Books) -> None:
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(asked: Asked) -> None:
        async with places:
            await carry_out(asked, both, books)

    await asyncio.gather(*map(one, calls))


@asynccontextmanager
async def served(directory: Path, more: str = "") -> AsyncIterator[tuple[Faces, Books]]:
    async with upstream_process() as books:
        config = f'[[models]]\nname = "m"\nkind = "upstream"\nbase_url = "{books.base_url}"\n{more}'
        async with faces(directory, config) as both:
            yield both, books


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_accounted_is_what_was_delivered(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    calls = [drawn(chance, number) for number in range(CALLS)]
    with account_log() as log:
        async with served(tmp_path) as (both, books):
            await all_of(calls, both, books)
    for asked in calls:
        line = log.lines.get(asked.plan.name)
        if line is None:
            assert (asked.way, asked.produced) == (LATE, 0)
            continue
        assert line["outcome"] in OUTCOMES[asked.way], (asked, line)
        assert line.get("completion_tokens", 0) == asked.delivered, (asked, line)
        assert line.get("prompt_tokens", 0) == asked.prompt, (asked, line)
        assert asked.seen.ended == (asked.way == WHOLE)
    spent = sum(int(str(line.get("completion_tokens", 0))) for line in log.lines.values())
    assert spent == sum(asked.delivered for asked in calls) > CALLS
    assert {line["outcome"] for line in log.lines.values()} == set().union(*OUTCOMES.values())


async def cut(asked: Asked, heard: int, both: Faces, books: Books) -> None:
    """Leaves after so many tokens while more are coming."""
    asking = asyncio.ensure_future(
        both.ask(
            asked.face,
            asked.question,
            seen=asked.seen,
            vendor={"plan": asked.plan.json()},
            headers={"x-request-id": asked.plan.name},
        )
    )
    hearing = asyncio.ensure_future(asked.seen.until(lambda seen: seen.text.count(" ") >= heard))
    await asyncio.wait((asking, hearing), return_when=asyncio.FIRST_COMPLETED)
    assert hearing.done(), (asked, asking)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    asked.produced = await produced_in_the_end(asked, books)


async def stall(asked: Asked, unread: int, both: Faces, books: Books) -> None:
    """Reads nothing at all, and leaves when so much has been produced for it."""
    name, vendor = asked.plan.name, {"plan": asked.plan.json()}
    if asked.face == HTTP:
        messages = [{"role": "user", "content": asked.question}]
        body = {"model": "m", "messages": messages, "stream": True} | vendor
        async with aiohttp.ClientSession(headers={"x-request-id": name}) as session:
            response = await session.post(f"{both.http}/chat/completions", json=body)
            await books.entry(name, produced=unread)
            response.close()
    else:
        async with grpc.aio.insecure_channel(both.grpc) as channel:
            call = ChatServiceStub(channel).StreamChatCompletion(
                ask(asked.question, model="m", extra_json=json.dumps(vendor)),
                metadata=(("x-request-id", name),),
            )
            await books.entry(name, produced=unread)
            call.cancel()
    asked.produced = await produced_in_the_end(asked, books)


async def test_cut_at_any_moment_no_more_is_accounted_than_was_produced_and_no_less_than_was_heard(
    tmp_path: Path,
) -> None:
    """By readers that keep up, and by such that read nothing."""
    chance = random.Random(3)
    calls = []
    with account_log() as log:
        async with served(tmp_path) as (both, books):
            work = []
            for number in range(60):
                stalls = number % 6 == 0
                plan = Plan(
                    name=f"call-{number}",
                    tokens=2000 if stalls else 60,
                    then=HANG,
                    pause=0 if stalls else 0.002,
                )
                face = chance.choice((HTTP, GRPC))
                calls.append(Asked(LEFT, face, True, plan, f"why {number}", Seen()))
                if stalls:
                    work.append(stall(calls[-1], chance.randrange(1, 200), both, books))
                else:
                    work.append(cut(calls[-1], chance.randrange(1, 50), both, books))
            await asyncio.gather(*work)
    for asked in calls:
        line = log.lines[asked.plan.name]
        heard = asked.seen.text.count(" ")
        assert line["outcome"] == "cancelled"
        assert heard <= int(str(line.get("completion_tokens", 0))) <= asked.produced, (asked, line)


async def test_an_upstream_that_can_is_asked_to_tell_what_was_spent_so_far(tmp_path: Path) -> None:
    plan, seen = Plan("call", tokens=3, then=HANG), Seen()
    asked = Asked(LEFT, GRPC, True, plan, "why oh why", seen)
    with account_log() as log:
        async with served(tmp_path, "continuous_usage = true") as (both, books):
            await carry_out(asked, both, books)
            line = await log.line("call")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (3, 3)


async def test_the_scripted_model_counts_as_well() -> None:
    """Wherever in the answer its caller leaves, and wherever it fails: word by word, and where
    many of them come at once."""
    said: dict[str, int] = {}
    with account_log() as log:
        async with scripted_service() as chat:
            for tokens, interval, leaves in (
                *((5, 0.001, bursts) for bursts in range(1, 15)),
                *((80, 0, bursts) for bursts in range(1, 9)),
            ):
                for fails in (None, 1, 4, 9, 33):
                    call = Call(f"{tokens}-{leaves}-{fails}", "tester")
                    script: dict[str, Any] = {"tokens": tokens, "interval_ms": interval}
                    if fails:
                        script |= {"fail": "ENGINE_LOST", "fail_after": fails}
                    request = ask("a b c d e", n=2, script=script)
                    heard = 0
                    with suppress(EngineLost):
                        async with aclosing(chat.stream(request, call)) as bursts:
                            for _ in range(leaves):
                                for chunk in chunks_of(await anext(bursts, [])):
                                    heard += bool(chunk.choices[0].delta.content)
                    said[call.request_id] = heard
    spent = {name: line.get("completion_tokens", 0) for name, line in log.lines.items()}
    assert spent == said
    assert len(set(said.values())) > 10
