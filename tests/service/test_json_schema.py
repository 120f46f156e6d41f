"""Schemas of strangers: nothing is fetched, and nothing takes for ever."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from diglot.service.json_schema import SchemaError, compiled, fits, parsed

DRAFT_7 = "http://json-schema.org/draft-07/schema#"


async def test_nothing_is_fetched() -> None:
    """Neither for a reference, nor for what a schema says that it is written in."""
    asked = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/schema.json"
        for schema in (
            {"$ref": url},
            {"properties": {"a": {"$ref": f"{url}#/a"}}},
            {"$schema": url, "type": "object"},
            {"$id": url, "$ref": "other.json"},
            {"$ref": "file:///etc/passwd"},
        ):
            with pytest.raises(SchemaError):
                await asyncio.to_thread(compiled, json.dumps(schema))
            assert not asked.is_set()
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not valid JSON"),
        ('{"const": NaN}', "not valid JSON"),
        ('{"maximum": 1e999}', "not valid JSON"),
        ('{"const": "\\ud800"}', "not valid JSON"),
        ("[" * 300 + "]" * 300, "not valid JSON"),
        ('{"type": "objekt"}', "at 'type'"),
        ('{"properties": {"a": {"minLength": -1}}}', "at 'properties/a/minLength'"),
        ('{"properties": {"a": {"pattern": "("}}}', "at 'properties/a/pattern'"),
        ('{"$ref": "#/$defs/a"}', "/\\$defs/a"),
        (
            '{"$ref": "other.json"}',
            "^'other.json': references to other documents are not followed$",
        ),
        ('{"$ref": "file:///etc/passwd"}', "^'file:///etc/passwd': references to other documents"),
        ('{"items": {"$ref": "http://x/y"}}', "^'http://x/y': references to other documents"),
        (
            '{"$ref": "x:' + "y" * 1000 + '"}',
            "yyy': references to other documents are not followed$",
        ),
        ('{"$ref": "#"}', "nothing but itself"),
        ('{"anyOf": [{"$ref": "#"}, {"type": "null"}]}', "nothing but itself"),
        ('{"$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}', "nothing but itself"),
        ('{"$dynamicRef": "#a", "$dynamicAnchor": "a"}', "'\\$dynamicRef' is not followed"),
        ('{"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}}', "'#a' leads nowhere"),
        ('{"$ref": "#/$defs/a", "$defs": {"a": {"$id": "http://x/"}}}', "'\\$id' below the root"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_no_schema_is_told_where(text: str, why: str) -> None:
    with pytest.raises(SchemaError, match=why) as caught:
        compiled(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {"type": "integer"}}},
        {"properties": {"$ref": {"type": "string"}, "default": {"type": "integer"}}},
        {"default": {"$ref": "other.json"}, "enum": [1, {"$ref": "other.json"}]},
        {"$id": "http://x/y", "type": "integer"},
        {"items": {"$ref": "#"}},
    ],
)
def test_what_is_one_is_taken(schema: Any) -> None:
    assert compiled(json.dumps(schema)).is_valid(1)


@pytest.mark.parametrize(
    ("text", "schema", "fitting"),
    [
        ("1", {}, True),
        ("", {}, False),
        ("1 2", {}, False),
        ("NaN", {}, False),
        ("[Infinity]", {}, False),
        ('{"a": 1}', {"type": "object", "required": ["a"]}, True),
        ('{"a": 1}', {"type": "object", "required": ["b"]}, False),
        ('"\\ud800"', {"type": "string"}, False),
        (str(10**400), {"type": "integer", "minimum": 5}, True),
        ("1" * 5000, {}, False),
        ("[" * 100_000, {}, False),
        ('"x"', {"format": "date"}, True),
        ("{}", {"$schema": DRAFT_7, "dependentSchemas": [1]}, True),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_text_fits_or_does_not(text: str, schema: Any, fitting: bool) -> None:
    assert fits(text, json.dumps(schema)) == fitting


def links(count: int, keyword: str, last: Any) -> dict[str, Any]:
    """Definitions, of which each names the next one twice."""
    defs: dict[str, Any] = {
        f"d{index}": {keyword: [{"$ref": f"#/$defs/d{index + 1}"}] * 2} for index in range(count)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{count}": last}}


TREE = {"properties": {"x": {"$ref": "#/$defs/d0"}}}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (links(60, "allOf", {}), "{}"),
        (links(60, "anyOf", {"type": "null"}), "{}"),
        (links(12, "allOf", TREE), '{"x": {"x": {}}}'),
        ({"pattern": "^(a+)+$"}, json.dumps("a" * 40 + "b")),
        ({"pattern": "^(?=a)(a|a)*(a+)+\\b$"}, json.dumps("a" * 40 + "b")),
    ],
    ids=["all of", "any of", "round and round", "a pattern", "a pattern with a lookahead"],
)
def test_what_would_take_for_ever_does_not_fit(schema: Any, text: str) -> None:
    begun = time.process_time()
    assert not fits(text, json.dumps(schema))
    assert time.process_time() - begun < 1


def test_references_that_are_meant_well_are_no_hindrance() -> None:
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                    "right": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                },
                "required": ["left", "right"],
            }
        },
    }
    value: Any = None
    for _ in range(9):
        value = {"left": value, "right": value}
    assert fits(json.dumps(value), json.dumps(tree))
    assert not fits(json.dumps({"left": value, "right": 1}), json.dumps(tree))


def test_keywords_are_those_of_the_draft() -> None:
    text = '{"$schema": "http://json-schema.org/draft-06/schema#", "if": 5, "const": 1}'
    assert parsed(text) == {"$schema": "http://json-schema.org/draft-06/schema#", "const": 1}
