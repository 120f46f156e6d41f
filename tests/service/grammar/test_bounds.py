"""Schemas that are made to hurt: a bounded time, a bounded text, and llama.cpp takes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from diglot.service.embedded.child_settings import ChildSettings
from diglot.service.embedded.grammar.fault import CannotCompile
from diglot.service.embedded.grammar.gbnf import Grammar
from diglot.service.embedded.grammar.limits import Limits
from diglot.service.embedded.grammar.schema import SchemaCompiler
from diglot.service.embedded.grammar.spelling import spelt
from diglot.service.embedded.supervisor import LlamaChild
from diglot.service.json_schema import SchemaError, compiled, parsed

Json = dict[str, Any]


def nested(levels: int, around: Callable[[Any], Json], innermost: Json) -> Json:
    schema = innermost
    for _ in range(levels):
        schema = around(schema)
    return schema


def chained(count: int, link: Callable[[Json, int], Json], last: Json) -> Json:
    """Definitions of which each is made of the next."""
    reference = {index: {"$ref": f"#/$defs/d{index}"} for index in range(count + 1)}
    links = {f"d{index}": link(reference[index + 1], index) for index in range(count)}
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{count}": last}}


def two_of(form: Json, other: Json) -> Json:
    return {"type": "object", "properties": {"x": form, "y": other}, "required": ["x", "y"]}


TEXT = {"type": "string"}
NAMED: Json = {f"p{index}": TEXT for index in range(5000)}

EVIL: dict[str, Json] = {
    "deep objects": nested(60, lambda form: two_of(form, TEXT), TEXT),
    "deeper than is followed": nested(95, lambda form: {"type": "array", "items": form}, TEXT),
    "deep alternatives": nested(60, lambda form: {"anyOf": [form, {"type": "null"}]}, TEXT),
    "deep combinations": nested(60, lambda form: {"allOf": [form, {"minLength": 1}]}, TEXT),
    "a long chain": chained(5000, lambda form, _: form, TEXT),
    "a long chain of objects": chained(3000, lambda form, _: two_of(form, TEXT), TEXT),
    "twice the next one": chained(40, lambda form, _: two_of(form, form), TEXT),
    "twice, each its own way": chained(
        40,
        lambda form, n: two_of({**form, "minProperties": n % 3}, {**form, "maxProperties": 9}),
        {"type": "object"},
    ),
    "all of the next one, twice": chained(40, lambda form, _: {"allOf": [form, form]}, TEXT),
    "any of the next one, twice": chained(
        40, lambda form, _: {"anyOf": [form, form], "type": "string"}, TEXT
    ),
    "options times options": {
        "allOf": [
            {"anyOf": [{"type": "object", "properties": {f"p{a}{b}": TEXT}} for b in range(4)]}
            for a in range(12)
        ]
    },
    "itself in two ways": {
        "type": "object",
        "properties": {
            "a": {"$ref": "#", "minProperties": 0},
            "b": {"allOf": [{"$ref": "#"}, {"maxProperties": 1}]},
        },
    },
    "very long strings": {"type": "string", "maxLength": 10**9},
    "longer than a float counts": {"type": "string", "maxLength": 1e300},
    "very long strings at least": {"type": "string", "minLength": 10**9},
    "very many items": {"type": "array", "items": TEXT, "minItems": 10**9},
    "very many members": {"type": "object", "minProperties": 10**9},
    "many lengths": {
        "type": "object",
        "properties": {f"p{index}": {**TEXT, "maxLength": 500 + index} for index in range(400)},
    },
    "some lengths": {
        "type": "object",
        "properties": {f"p{index}": {**TEXT, "maxLength": 500 + index} for index in range(50)},
    },
    "many values": {"enum": [f"value {index}" for index in range(100_000)]},
    "some values": {"enum": [f"value {index}" for index in range(1000)]},
    "values against patterns": {
        "enum": ["a" * 30 + f"b{index}" for index in range(500)],
        "pattern": "^(?=a)(a|a)*(a+)+\\b$",
    },
    "many names": {"type": "object", "properties": NAMED},
    "many names, counted": {"type": "object", "properties": NAMED, "minProperties": 1000},
    "many first items": {"type": "array", "prefixItems": [TEXT] * 3000},
    "names against patterns": {
        "type": "object",
        "properties": {f"{'a' * 20}{index}": TEXT for index in range(1000)},
        "patternProperties": {f"^(a+)+{index}$": {"maxLength": 3} for index in range(30)},
    },
    "many parts": {"allOf": [{"properties": {name: TEXT}} for name in NAMED], "type": "object"},
    "nested repetitions": {"type": "string", "pattern": "^((a{1,20}b){1,20}c){1,20}$"},
    "nested stars": {"type": "string", "pattern": "^(((a*)*)*(a|b|ab)*(()|x)*)*$"},
    "nothing, very often": {"type": "string", "pattern": "^((a?){30}){30}$"},
    "huge repetition": {"type": "string", "pattern": "^[ab]{1,2500}$"},
    "many alternatives": {"type": "string", "pattern": "|".join(f"a{n}" for n in range(2000))},
    "deep groups": {"type": "string", "pattern": "(" * 49 + "a" + ")" * 49},
    "numbers": {
        "type": "object",
        "properties": {f"n{n}": {"type": "number", "minimum": -1e30 + n} for n in range(50)},
    },
    "numbers far out": {"type": "number", "minimum": -1e308, "maximum": 1e308},
    "a number of 4000 digits": {"type": "integer", "minimum": int("1" * 4000)},
    "remainders": {"type": "integer", "multipleOf": 39},
    "distinct items": {
        "type": "array",
        "items": {"enum": list(range(64))},
        "uniqueItems": True,
        "minItems": 30,
    },
}  # fmt: skip


# Each of its own kind: large, deep, ambiguous, repeated.
FOR_LLAMA = [
    *("twice the next one", "itself in two ways", "very long strings", "some lengths"),
    *("nested repetitions", "nested stars", "nothing, very often", "huge repetition"),
    *("distinct items", "deep groups"),
]


def grammar_text(schema: Json, *, exact: bool) -> str | None:
    """None if it is refused."""
    text = json.dumps(schema)
    try:
        compiled(text)
        grammar = Grammar()
        root = SchemaCompiler(grammar, Limits(), exact=exact).compile(parsed(text))
        return spelt(grammar, root)
    except (SchemaError, CannotCompile):
        return None


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", EVIL)
def test_a_schema_takes_a_bounded_time_and_a_bounded_text(name: str, exact: bool) -> None:
    begun = time.process_time()
    text = grammar_text(EVIL[name], exact=exact)
    # A second at most, and more on a machine that has other things to do.
    assert time.process_time() - begun < 3
    assert text is None or len(text) <= 256 * 1024


async def test_llama_takes_what_is_made_of_them(model_path: Path) -> None:
    """It refuses a grammar that it cannot read, and dies or hangs of worse ones."""
    child = LlamaChild(ChildSettings(model=model_path, context_tokens=512, parallel=1, threads=1))
    await child.start()
    try:
        await child.readiness.wait()
        connector = aiohttp.TCPConnector(force_close=True)
        headers = {"Authorization": f"Bearer {child.api_key}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            for name in FOR_LLAMA:
                body = {
                    "messages": [{"role": "user", "content": "hi"}],
                    "max_tokens": 1,
                    "grammar": grammar_text(EVIL[name], exact=False),
                }
                url = f"{child.base_url}/chat/completions"
                async with session.post(url, json=body) as answer:
                    assert answer.status == 200, f"{name}: {await answer.text()}"
    finally:
        await child.close()
