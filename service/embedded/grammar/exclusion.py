"""Schemas of which no value can have both: what makes `oneOf` the same as `anyOf`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .composition import Schema, identity, member

_TYPES = frozenset({"object", "array", "string", "number", "boolean", "null"})
_DEEPEST = 3


def exclude(
    one: Schema, other: Schema, resolved: Callable[[Schema], Schema], depth: int = 0
) -> bool:
    """Whether that is plain to see: by type, by value, or by a member that objects of one of
    them must have. `resolved` follows references."""
    if depth > _DEEPEST:
        return False
    one, other = resolved(one), resolved(other)
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one is False or other is False
    ours, theirs = _values(one), _values(other)
    if ours is not None and theirs is not None:
        return ours.isdisjoint(theirs)
    common = _types(one) & _types(other)
    if not common:
        return True
    if common != {"object"}:
        return False
    needed = {*one.get("required", ()), *other.get("required", ())}
    return any(
        exclude(member(one, name), member(other, name), resolved, depth + 1) for name in needed
    )


def _values(schema: dict[str, Any]) -> set[Any] | None:
    """Those that it allows at most; None if they are not listed."""
    if "const" in schema:
        return {identity(schema["const"])}
    return {identity(value) for value in schema["enum"]} if "enum" in schema else None


def _types(schema: dict[str, Any]) -> frozenset[str]:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        return frozenset(map(_type, values))
    given = schema.get("type", _TYPES)
    kinds = [given] if isinstance(given, str) else given
    return frozenset("number" if kind == "integer" else kind for kind in kinds)


def _type(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case dict():
            return "object"
        case list():
            return "array"
        case str():
            return "string"
        case None:
            return "null"
    return "number"
