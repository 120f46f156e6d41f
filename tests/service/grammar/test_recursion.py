"""Schemas that contain themselves: for models that would go on for ever."""

from __future__ import annotations

import json
from typing import Any

from grammars import Language

from diglot.service.embedded.grammar.gbnf import Grammar, Node
from diglot.service.embedded.grammar.limits import Limits
from diglot.service.embedded.grammar.recursion import bounded
from diglot.service.embedded.grammar.schema import SchemaCompiler

TREE: dict[str, Any] = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "name": {"enum": ["x"]},
                "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                "right": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
            },
            "required": ["name", "left", "right"],
        }
    },
}
FLAT = {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}


def compiled(schema: dict[str, Any]) -> tuple[Grammar, Node]:
    grammar = Grammar()
    return grammar, SchemaCompiler(grammar, Limits(), exact=True).compile(schema)


def depth(tree: dict[str, Any] | None) -> int:
    return 0 if tree is None else 1 + max(depth(tree["left"]), depth(tree["right"]))


def nested(levels: int) -> str:
    tree = "null"
    for _ in range(levels):
        tree = f'{{"name": "x", "left": {tree}, "right": null}}'
    return tree


def test_it_goes_round_so_often_and_not_more() -> None:
    grammar, root = compiled(TREE)
    language = Language(bounded(grammar, root, 3), grammar)
    deepest = max(depth(json.loads(text)) for text in language.some(200))
    assert deepest <= 3
    assert nested(2) in language
    assert nested(9) not in language
    assert nested(9) in Language(root, grammar)


def test_what_does_not_go_round_stays_as_it_is() -> None:
    grammar, root = compiled(FLAT)
    language = Language(bounded(grammar, root, 1), grammar)
    assert set(language.some(200)) == {"[]", *_ones(), *_pairs()}


def _ones() -> set[str]:
    return {f"[{a}]" for a in (1, 2)}


def _pairs() -> set[str]:
    return {f"[{a}, {b}]" for a in (1, 2) for b in (1, 2)}


def test_what_must_go_round_more_often_may() -> None:
    schema = TREE
    for _ in range(6):
        schema = {"type": "object", "properties": {"in": schema}, "required": ["in"]}
    schema["$defs"] = TREE["$defs"]
    grammar, root = compiled(schema)
    assert Language(bounded(grammar, root, 0), grammar).some(1)
