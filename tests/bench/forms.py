"""Forced tool calls and answers by schema of the default model: how many are valid.

Each is asked of a served model through OpenAI's client, every second one streamed, and held
against its schema here, by another way than the service's own.

    python -m tests.bench.forms --count 1000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema_rs
import uvloop
from openai import AsyncOpenAI

from .form_schemas import Schema, schema
from .machine import description
from .servers import MODEL, serve, state
from .table import Table

SCHEMAS = 100
"""Distinct ones; each is asked for with several questions."""
CLIENTS = 4
MOST_TOKENS = 2000

_QUESTIONS = (
    *("Register a new customer.", "Book a table for two.", "What is the weather in Ulm?"),
    *("Order three blue shirts.", "Describe the harbour.", "Plan my trip to 東京.", "Fill it in."),
    *("Report a broken lamp.", "Say something nice.", "Schedule a meeting on Monday."),
)

Answer = tuple[str, str | None, int]
"""The text that has to be valid, the finish reason, and the tokens it took."""


async def _called(client: AsyncOpenAI, number: int, form: Schema, question: str) -> Answer:
    function = {"name": "act", "description": "Acts.", "parameters": form}
    named = {"type": "function", "function": {"name": "act"}}
    asked: dict[str, Any] = {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": named if number % 4 < 2 else "required",
        "parallel_tool_calls": False,
    }
    message, reason, tokens = await _ask(client, number, question, asked)
    calls = message.tool_calls or []
    expected = "stop" if number % 4 < 2 else "tool_calls"
    if reason == expected and len(calls) == 1 and calls[0].function.name == "act":
        return calls[0].function.arguments, None, tokens
    return "", reason, tokens


async def _answered(client: AsyncOpenAI, number: int, form: Schema, question: str) -> Answer:
    wanted = {"name": "form", "schema": form, "strict": number % 4 < 2}
    asked = {"response_format": {"type": "json_schema", "json_schema": wanted}}
    message, reason, tokens = await _ask(client, number, question, asked)
    return message.content or "", None if reason == "stop" else reason, tokens


async def _ask(
    client: AsyncOpenAI, number: int, question: str, asked: dict[str, Any]
) -> tuple[Any, str | None, int]:
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question}],
        "max_completion_tokens": MOST_TOKENS,
        "seed": number,
        **asked,
    }
    if number % 2:
        whole: Any = await client.chat.completions.create(**body)
    else:
        body["stream_options"] = {"include_usage": True}
        async with client.chat.completions.stream(**body) as events:
            whole = await events.get_final_completion()
    choice = whole.choices[0]
    return choice.message, choice.finish_reason, whole.usage.completion_tokens


Kind = Callable[[AsyncOpenAI, int, Schema, str], Awaitable[Answer]]


async def _count(client: AsyncOpenAI, kind: Kind, count: int) -> tuple[Counter[str], int]:
    found: Counter[str] = Counter()
    tokens = 0
    groups = iter(range(min(count, SCHEMAS)))

    async def work() -> None:
        nonlocal tokens
        for group in groups:
            # All questions to one schema come together: the model has its prompt at hand.
            for number in range(group, count, SCHEMAS):
                question = _QUESTIONS[number // SCHEMAS % len(_QUESTIONS)]
                form = schema(group)
                try:
                    text, reason, spent = await kind(client, number, form, question)
                except Exception as error:
                    found[_told(number, f"{type(error).__name__}: {error}")] += 1
                    continue
                tokens += spent
                found[reason or _verdict(number, form, text)] += 1
            print(f"{found.total()} of {count}", file=sys.stderr)

    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return found, tokens


def _verdict(number: int, form: Schema, text: str) -> str:
    try:
        value = json.loads(text)
        jsonschema_rs.validator_for(form, validate_formats=True).validate(value)
    except ValueError as error:
        return _told(number, f"invalid: {error} in {text[:200]!r}")
    return "valid"


def _told(number: int, fault: str) -> str:
    print(f"number {number}: {fault}", file=sys.stderr)
    return fault.partition(":")[0]


KINDS: dict[str, Kind] = {"calls": _called, "answers": _answered}


async def _main(count: int, names: list[str]) -> bool:
    async with state(with_models=True) as here, serve(here, "--model", MODEL) as server:
        base = f"http://{server.http}/v1"
        rows = []
        perfect = True
        async with AsyncOpenAI(api_key=here.key, base_url=base, max_retries=0) as client:
            for name in names:
                began = time.monotonic()
                found, tokens = await _count(client, KINDS[name], count)
                seconds = time.monotonic() - began
                valid = found.pop("valid", 0)
                perfect &= valid == count
                others = ", ".join(f"{n} {what}" for what, n in found.items()) or "none"
                cells = (f"{count}", f"{valid}", others, f"{tokens / count:.0f}", f"{seconds:.0f}")
                rows.append((name, *cells))
    columns = ("", "asked", "valid", "not valid", "tokens each", "seconds")
    note = f"{SCHEMAS} schemas, {MODEL}, {CLIENTS} clients, every second answer streamed."
    print("\n".join(f"- {name}: {text}" for name, text in description().items()))
    print(f"\n{Table('Answers by schema', note, columns, tuple(rows)).markdown()}")
    return perfect


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.forms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=1000, help="of each kind (default: 1000)")
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help="calls, answers, or both (default)"
    )
    arguments = parser.parse_args()
    sys.exit(0 if uvloop.run(_main(arguments.count, arguments.kinds or [*KINDS])) else 1)
