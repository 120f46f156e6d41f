"""References within a JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

# Keywords that hold schemas by name, and keywords that hold data, not schemas.
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_SEVERAL = ("allOf", "anyOf", "oneOf")
_ONE = ("not", "if", "then", "else")
_DATA = frozenset({"const", "enum", "default", "examples", "example"})


class UnfollowedReference(Exception):
    """A reference that is not simply a place in the schema; `str` says which."""


def referent(document: Any, reference: str) -> Any:
    """What stands at the place that a reference like `#/$defs/name` names; None if nothing."""
    pointer = unquote(reference[1:])
    if not reference.startswith("#") or (pointer and not pointer.startswith("/")):
        return None
    at = document
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and step in at:
            at = at[step]
        elif isinstance(at, list) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            return None
    return at


def check_references(document: Any) -> None:
    """Raises UnfollowedReference for references that are not followed: to other documents, by
    a name in place of a pointer, or to places that depend on the way there."""
    found = [*schemas(document)]
    refers = False
    for schema, _ in found:
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                raise UnfollowedReference(f"'{keyword}' is not followed")
        reference = schema.get("$ref")
        if isinstance(reference, str):
            refers = True
            if not reference.startswith("#"):
                raise UnfollowedReference(
                    f"'{reference[:100]}': references to other documents are not followed"
                )
            if referent(document, reference) is None:
                raise UnfollowedReference(f"'{reference[:100]}' leads nowhere in this schema")
    if refers:
        _check_progress(document, [schema for schema, _ in found])
    # From there on, pointers would begin elsewhere.
    if refers and any(inside and _has_id(schema) for schema, inside in found):
        raise UnfollowedReference("an '$id' below the root, beside references, is not followed")


def in_place(document: Any, schema: dict[str, Any]) -> Iterator[Any]:
    """The schemas that hold for the same value, next to this one."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield referent(document, reference)
    for keyword in _SEVERAL:
        yield from listed(schema.get(keyword))
    for keyword in _ONE:
        if keyword in schema:
            yield schema[keyword]
    for keyword in ("dependentSchemas", "dependencies"):
        yield from named(schema.get(keyword)).values()


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def named(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _check_progress(document: Any, found: list[dict[str, Any]]) -> None:
    """Refuses a schema that holds for a value if it holds for that value."""
    done: set[int] = set()
    for start in found:
        way = {id(start): in_place(document, start)}
        while way:
            last, following = way.popitem()
            for inner in following:
                if not isinstance(inner, dict) or id(inner) in done:
                    continue
                if id(inner) == last or id(inner) in way:
                    raise UnfollowedReference("a reference leads to nothing but itself")
                way[last] = following
                way[id(inner)] = in_place(document, inner)
                break
            else:
                done.add(last)


def _has_id(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("$id"), str) or isinstance(schema.get("id"), str)


def schemas(document: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every schema of the document, and whether it is below the root."""
    open_ones: list[tuple[Any, bool]] = [(document, False)]
    while open_ones:
        schema, inside = open_ones.pop()
        if isinstance(schema, list):
            open_ones += [(member, True) for member in schema]
        if not isinstance(schema, dict):
            continue
        yield schema, inside
        for keyword, value in schema.items():
            if keyword in _NAMED and isinstance(value, dict):
                open_ones += [(member, True) for member in value.values()]
            elif keyword not in _DATA:
                open_ones.append((value, True))
