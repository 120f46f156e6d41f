"""How often a value, and what is in it, would be looked at to hold it against a schema.

References let a small schema ask for the same check again and again: forty definitions that
each name the next one twice come to a million million. Counting that is quick, as what the
same schema asks of the same value need be counted only once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .json_reference import in_place, named

_OF_MEMBERS = ("additionalProperties", "unevaluatedProperties")
_OF_ITEMS = ("prefixItems", "items", "contains", "additionalItems", "unevaluatedItems")


class TooManyVisits(Exception):
    """More than there may be."""


def count_visits(document: Any, value: Any, most: int) -> int:
    """Raises TooManyVisits, also if counting itself takes that long; and RecursionError."""
    return _Count(document, most).of(document, value)


class _Count:
    def __init__(self, document: Any, most: int) -> None:
        self._document = document
        self._left = most
        self._most = most
        self._known: dict[tuple[int, int], int] = {}

    def of(self, schema: Any, value: Any) -> int:
        if not isinstance(schema, dict):
            return 1
        pair = (id(schema), id(value))
        known = self._known.get(pair)
        if known is not None:
            return known
        self._known[pair] = self._most  # a check that leads back to itself has no end
        total = 1
        for inner, part in self._asked(schema, value):
            self._left -= 1
            total += self.of(inner, part)
            if total > self._most or self._left < 0:
                raise TooManyVisits
        self._known[pair] = total
        return total

    def _asked(self, schema: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
        """Which schemas are held against which parts of the value."""
        for inner in in_place(self._document, schema):
            yield inner, value
        if isinstance(value, dict):
            yield from _of_members(schema, value)
        elif isinstance(value, list):
            yield from _of_items(schema, value)


def _of_members(schema: dict[str, Any], value: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    forms = named(schema.get("properties"))
    for name in value.keys() & forms.keys():
        yield forms[name], value[name]
    several = [*named(schema.get("patternProperties")).values()]
    several += [schema[keyword] for keyword in _OF_MEMBERS if keyword in schema]
    for form in several:
        for part in value.values():
            yield form, part
    if "propertyNames" in schema:
        for name in value:
            yield schema["propertyNames"], name


def _of_items(schema: dict[str, Any], value: list[Any]) -> Iterator[tuple[Any, Any]]:
    for keyword in _OF_ITEMS:
        form = schema.get(keyword)
        if isinstance(form, list):
            yield from zip(form, value, strict=False)
        elif form is not None:
            for part in value:
                yield form, part
