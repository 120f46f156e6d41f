"""What it is worth that a conversation stays with the server that has its beginning at hand.

Two llama.cpp servers behind one Diglot, and conversations of several turns with long beginnings.
Diglot keeps them together by their `prompt_cache_key`; without one, by their first messages. For
comparison, every request has a key of its own, so that it goes anywhere.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from .command import run
from .effort import Effort
from .load import percentile
from .quiet import Others, quiet
from .servers import MODEL, Server, State, serve, state
from .table import Cell, Figure, Table

CONVERSATIONS = 6
TURNS = 5
AT_A_TIME = 2
"""Conversations that ask at the same moment: there are two servers."""
SLOTS = 4
"""Answers that each server can have under way, and prompts that it remembers."""
CONTEXT = 2048
_BEGINNING = 300
"""Words."""
_ANSWER = 24
"""Tokens."""
_PATIENCE = 120.0
"""Seconds for loading the model twice."""
_WORDS = (
    *("river", "stone", "lamp", "garden", "winter", "letter"),
    *("music", "bread", "window", "silver", "road", "cloud"),
)

_NOTE = (
    f"{CONVERSATIONS} conversations of {TURNS} turns, {AT_A_TIME} at a time, each with a beginning "
    f"of {_BEGINNING} words of its own; two servers with {SLOTS} slots. Cached: by the servers' "
    "own usage. Later turns: all but each conversation's first, which nobody can have cached. "
    "Others: what else was at work, of all cores."
)

Key = Callable[[int, int], str | None]
"""The prompt_cache_key of a conversation's turn."""
WAYS: dict[str, Key] = {
    "`prompt_cache_key`": lambda conversation, _: f"conversation-{conversation}",
    "no key: the first messages": lambda *_: None,
    "defeated: a key for each request": lambda *_: f"{random.getrandbits(64)}",
}


@dataclass
class _Taken:
    """Of the later turns."""

    prompt: int = 0
    cached: int = 0
    firsts: list[float] = field(default_factory=list)


async def tables(effort: Effort) -> list[Table]:
    rows = []
    async with state(with_models=True) as here:
        for name, key in WAYS.items():
            # Servers that remember nothing of the way before.
            async with serve(here, "--config", str(_configuration(here))) as server:
                client = AsyncOpenAI(
                    api_key=here.key, base_url=f"http://{server.http}/v1", max_retries=0
                )
                async with client:
                    await _both_ready(server)
                    await quiet()
                    print(f"affinity: {name}", file=sys.stderr)
                    rows.append((name, *await _figures(client, key, effort)))
    columns = (
        "kept together by",
        "prompt tokens, later turns",
        "cached",
        "share, %",
        "first token p50 ms",
        "first token p90 ms",
        "others",
    )
    return [Table("Cache affinity", _NOTE, columns, tuple(rows))]


def _configuration(here: State) -> Path:
    file = here.directory / "diglot.toml"
    deployment = (
        f'[[models.deployments]]\nkind = "embedded"\nname = "{{}}"\nsource = "{MODEL}"\n'
        f"parallel = {SLOTS}\ncontext_tokens = {CONTEXT}\nthreads = 1\n"
    )
    both = "".join(map(deployment.format, ("one", "two")))
    file.write_text(f'[[models]]\nname = "{MODEL}"\n{both}')
    return file


async def _both_ready(server: Server) -> None:
    """A server is ready when one of its deployments is."""
    async with asyncio.timeout(_PATIENCE):
        while server.log.read_text().count("the model is ready") < 2:
            await asyncio.sleep(0.1)


async def _figures(client: AsyncOpenAI, key: Key, effort: Effort) -> tuple[Cell, ...]:
    others = Others()
    taken = _Taken()
    turns = effort.count(TURNS, 2)
    said = {
        conversation: [{"role": "system", "content": _beginning(conversation)}]
        for conversation in range(effort.count(CONVERSATIONS, 2))
    }
    for turn in range(turns):
        waiting = iter(said.items())

        async def work(turn: int = turn, waiting: Any = waiting) -> None:
            for conversation, messages in waiting:
                await _turn(client, key(conversation, turn), messages, turn, taken)

        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
    return (
        f"{taken.prompt:,}",
        f"{taken.cached:,}",
        Figure((100 * taken.cached / taken.prompt,), 1),
        Figure((percentile(taken.firsts, 50),)),
        Figure((percentile(taken.firsts, 90),)),
        f"{others.share:.0%}",
    )


async def _turn(
    client: AsyncOpenAI,
    key: str | None,
    messages: list[dict[str, str]],
    turn: int,
    taken: _Taken,
) -> None:
    """Asks the conversation's next question, and adds it and the answer to what was said."""
    messages.append({"role": "user", "content": f"Tell me number {turn + 1} of your list."})
    began = time.perf_counter()
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": messages,
        "max_tokens": _ANSWER,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **({} if key is None else {"prompt_cache_key": key}),
    }
    text, first = "", 0.0
    async for chunk in await client.chat.completions.create(**asked):
        for choice in chunk.choices:
            if choice.delta.content:
                first = first or time.perf_counter() - began
                text += choice.delta.content
        if chunk.usage is not None and turn > 0:
            taken.prompt += chunk.usage.prompt_tokens
            taken.cached += chunk.usage.prompt_tokens_details.cached_tokens
    if turn > 0:
        taken.firsts.append(first)
    messages.append({"role": "assistant", "content": text})


def _beginning(conversation: int) -> str:
    """Another one for each conversation, from its first word on."""
    chance = random.Random(conversation)
    words = chance.choices(_WORDS, k=_BEGINNING)
    return f"Conversation {conversation}. This is your list: {' '.join(words)}."


if __name__ == "__main__":
    run(affinity=tables)
