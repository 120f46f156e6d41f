"""Schemas of every kind that callers use, made up at random but the same every time."""

from __future__ import annotations

import random
from typing import Any

Schema = dict[str, Any]

_WORDS = (
    *("name", "title", "city", "street", "country", "amount", "price", "count", "level", "status"),
    *("notes", "tags", "items", "owner", "email", "date", "weather", "größe", "名前", "город"),
    *("prix €", "first name", "x-id", "emoji 😀", "a/b", 'quote"d', "back\\slash"),
)
_VALUES = ("red", "green", "blue", "low", "medium", "high", "ja", "nein", "да", "東京", "😀", "a b")
_PATTERNS = (
    *("^[A-Z]{3}-[0-9]{4}$", "^(mon|tue|wed|thu|fri)$", "^\\d{1,3}(\\.\\d{1,3}){3}$"),
    *("^[a-z]+(_[a-z]+)?$", "^#[0-9a-fA-F]{6}$", "^\\+?[0-9 ]{6,12}$"),
)
_FORMATS = ("date", "date-time", "time", "email", "uuid", "ipv4", "hostname")
_DEEPEST = 3


def schema(number: int) -> Schema:
    """The schema of this number: an object, with references on every third."""
    return _Maker(random.Random(number)).document(with_references=number % 3 == 0)


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._definitions: list[str] = []

    def document(self, *, with_references: bool) -> Schema:
        definitions: Schema = {}
        if with_references:
            definitions["leaf"] = self._object(2)
            definitions["list"] = {
                "type": "object",
                "properties": {
                    "value": {"type": "integer", "minimum": 0, "maximum": 9},
                    "next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
                "additionalProperties": False,
            }
            self._definitions = ["leaf", "list"]
        document = self._object(0)
        return document | ({"$defs": definitions} if definitions else {})

    def _object(self, depth: int) -> Schema:
        names = self._chance.sample(_WORDS, self._chance.randint(1, 4 - depth))
        properties = {name: self._any(depth + 1) for name in names}
        required = [name for name in names if self._chance.random() < 0.7]
        closed = {"additionalProperties": False} if self._chance.random() < 0.7 else {}
        return {"type": "object", "properties": properties, "required": required, **closed}

    def _any(self, depth: int) -> Schema:
        makers = [self._string, self._number, self._enum, self._scalar, self._string, self._format]
        if depth < _DEEPEST:
            makers += [self._array, self._union]
            makers.append(lambda depth: self._object(depth))
            if self._definitions:
                makers.append(self._reference)
        return self._chance.choice(makers)(depth)

    def _string(self, depth: int) -> Schema:
        kind = self._chance.randrange(4)
        if kind == 0:
            return {"type": "string", "pattern": self._chance.choice(_PATTERNS)}
        if kind == 1:
            least = self._chance.choice((0, 1, 5, 120))  # the last one: a long string
            return {"type": "string", "minLength": least, "maxLength": least + 40}
        return {"type": "string", "description": "In a few words."}

    def _format(self, depth: int) -> Schema:
        return {"type": "string", "format": self._chance.choice(_FORMATS)}

    def _number(self, depth: int) -> Schema:
        low = self._chance.choice((-100, 0, 1, 18))
        kind = self._chance.choice(("integer", "number"))
        bounds = self._chance.choice(
            ({}, {"minimum": low}, {"minimum": low, "maximum": low + 50}, {"exclusiveMaximum": low})
        )
        return {"type": kind, **bounds}

    def _enum(self, depth: int) -> Schema:
        values: list[Any] = self._chance.sample(_VALUES, 3)
        return {"enum": [*values, *self._chance.choice(([], [None], [1, 2.5], [True]))]}

    def _scalar(self, depth: int) -> Schema:
        return self._chance.choice(
            (
                {"type": "boolean"},
                {"type": ["string", "null"]},
                {"const": "fixed"},
                {"type": "null"},
            )
        )

    def _array(self, depth: int) -> Schema:
        least = self._chance.randint(0, 2)
        most = self._chance.choice(({}, {"maxItems": least + 2}))
        if self._chance.random() < 0.2:
            values = self._chance.sample(_VALUES, 4)
            return {"type": "array", "items": {"enum": values}, "uniqueItems": True, **most}
        return {"type": "array", "items": self._any(depth + 1), "minItems": least, **most}

    def _union(self, depth: int) -> Schema:
        return {"anyOf": [self._any(depth + 1), self._object(depth + 1), {"type": "null"}]}

    def _reference(self, depth: int) -> Schema:
        return {"$ref": f"#/$defs/{self._chance.choice(self._definitions)}"}
