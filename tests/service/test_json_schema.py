"""Callers' schemas: compiled once, never fetched, never slow."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from diglot.service.json_schema import SchemaError, compiled

NO_SCHEMAS: list[tuple[Any, str]] = [
    ({"type": "any"}, "at 'type'"),
    ({"properties": {"a": {"minimum": "x"}}}, "at 'properties/a/minimum'"),
    ({"properties": {"a": {"pattern": "^(a"}}}, "at 'properties/a/pattern'"),
    ({"$ref": "#/nowhere"}, "nowhere"),
    ({"$schema": "https://example.com/mine"}, "example.com"),
]


@pytest.mark.parametrize(("schema", "says"), NO_SCHEMAS, ids=[row[1] for row in NO_SCHEMAS])
def test_what_is_no_schema_is_told_with_its_place(schema: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        compiled(json.dumps(schema))


@pytest.mark.parametrize("text", ["", "{", "nope", '{"minimum": 1e999}', "[" * 300 + "]" * 300])
def test_what_is_no_json_is_no_schema(text: str) -> None:
    with pytest.raises(SchemaError):
        compiled(text)


async def test_references_are_not_followed_out_of_the_schema() -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        for address in (f"http://127.0.0.1:{port}/schema", "file:///etc/hostname"):
            with pytest.raises(SchemaError, match="not followed"):
                await asyncio.to_thread(compiled, json.dumps({"$ref": address}))
    finally:
        server.close()
        await server.wait_closed()
    assert not asked


def test_a_pattern_that_backtracks_for_ever_counts_as_not_matching() -> None:
    validator = compiled('{"pattern": "^(?=(a|a?)+$)(a|a?)+$"}')
    assert not validator.is_valid("a" * 60 + "b")


def test_compiled_once() -> None:
    assert compiled('{"type": "string"}') is compiled('{"type": "string"}')
