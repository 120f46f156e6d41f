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
CLIENTS = 2
AT_A_TIME = 4
"""Answers to one request, each another one."""
MOST_TOKENS = 2000

_QUESTIONS = (
    *("Register a new customer.", "Book a table for two.", "What is the weather in Ulm?"),
    *("Order three blue shirts.", "Describe the harbour.", "Plan my trip to 東京.", "Fill it in."),
    *("Report a broken lamp.", "Say something nice.", "Schedule a meeting on Monday."),
)

Answer = tuple[str, str | None]
"""The text that has to be valid; or None and why there is none, a finish reason."""


async def _called(
    client: AsyncOpenAI, number: int, form: Schema, question: str
) -> tuple[list[Answer], int]:
    function = {"name": "act", "description": "Acts.", "parameters": form}
    named = {"type": "function", "function": {"name": "act"}}
    asked: dict[str, Any] = {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": named if number % 4 < 2 else "required",
        "parallel_tool_calls": False,
    }
    expected = "stop" if number % 4 < 2 else "tool_calls"
    choices, tokens = await _ask(client, number, question, asked)
    answers: list[Answer] = []
    for choice in choices:
        calls = choice.message.tool_calls or []
        good = choice.finish_reason == expected and [c.function.name for c in calls] == ["act"]
        text = calls[0].function.arguments if good else ""
        answers.append((text, None if good else choice.finish_reason))
    return answers, tokens


async def _answered(
    client: AsyncOpenAI, number: int, form: Schema, question: str
) -> tuple[list[Answer], int]:
    wanted = {"name": "form", "schema": form, "strict": number % 4 < 2}
    asked = {"response_format": {"type": "json_schema", "json_schema": wanted}}
    choices, tokens = await _ask(client, number, question, asked)
    return [
        (choice.message.content or "", None if choice.finish_reason == "stop" else "cut")
        for choice in choices
    ], tokens


async def _ask(
    client: AsyncOpenAI, number: int, question: str, asked: dict[str, Any]
) -> tuple[list[Any], int]:
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question}],
        "max_completion_tokens": MOST_TOKENS,
        "seed": 1000 * number,
        "n": AT_A_TIME,
        "temperature": 0.7,
        **asked,
    }
    if number % 2:
        whole: Any = await client.chat.completions.create(**body)
    else:
        body["stream_options"] = {"include_usage": True}
        async with client.chat.completions.stream(**body) as events:
            whole = await events.get_final_completion()
    return whole.choices, whole.usage.completion_tokens


Kind = Callable[[AsyncOpenAI, int, Schema, str], Awaitable[tuple[list[Answer], int]]]


async def _count(client: AsyncOpenAI, kind: Kind, count: int) -> tuple[Counter[str], int]:
    found: Counter[str] = Counter()
    tokens = 0
    requests = count // AT_A_TIME
    groups = iter(range(min(requests, SCHEMAS)))

    async def work() -> None:
        nonlocal tokens
        for group in groups:
            # All questions to one schema come together: the model has its prompt at hand.
            for number in range(group, requests, SCHEMAS):
                question = _QUESTIONS[number // SCHEMAS % len(_QUESTIONS)]
                form = schema(group)
                try:
                    answers, spent = await kind(client, number, form, question)
                except Exception as error:
                    found[_told(number, f"{type(error).__name__}: {error}")] += AT_A_TIME
                    continue
                tokens += spent
                for text, reason in answers:
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
    note = (
        f"{SCHEMAS} schemas, {MODEL}, {AT_A_TIME} answers to a request, every second one streamed."
    )
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
