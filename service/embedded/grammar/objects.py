"""Objects: members by name, or of any name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import strings
from .composition import Schema, both, member
from .fault import NothingFits
from .gbnf import Node, Text, choice, sequence
from .lists import braced, listed, members

if TYPE_CHECKING:
    from .schema import SchemaCompiler


def object_form(compiler: SchemaCompiler, schema: dict[str, Any], path: str) -> Node:
    """An object with its braces. Raises CannotCompile."""
    if "unevaluatedProperties" in schema:
        # By now, all that is evaluated stands beside it.
        schema = {"additionalProperties": schema["unevaluatedProperties"], **schema}
    least, most = int(schema.get("minProperties", 0)), schema.get("maxProperties")
    most = None if most is None else int(most)
    if not schema.get("properties") and not schema.get("required"):
        return braced(_unnamed(compiler, schema, least, most, path))
    names, needed = _names(schema)
    pieces = []
    for name in names:
        try:
            value = _value(compiler, schema, name, path)
        except NothingFits:
            if name in needed:
                raise
        else:
            pieces.append((sequence(strings.key(name), value), name in needed))
    if least > len(pieces):
        compiler.cannot(f"{path}/minProperties", "more members than are named")
        least = len(pieces)
    if most is not None and most < max(least, len(needed)):
        raise NothingFits(f"{path}/maxProperties", "fewer than there must be")
    return braced(members(compiler.grammar, pieces, least, most))


def _names(schema: dict[str, Any]) -> tuple[list[str], set[str]]:
    """The names of the members, in order, and which of them there must be."""
    names = dict.fromkeys([*schema.get("properties", {}), *schema.get("required", ())])
    needed = set(schema.get("required", ()))
    # What some members bring along there is always.
    brought = schema.get("dependentRequired", {})
    bringing = list(names)
    for name in bringing:
        others = brought.get(name, ())
        needed |= set(others)
        bringing += [other for other in others if other not in names]
        names |= dict.fromkeys(others)
    return list(names), needed


def _value(compiler: SchemaCompiler, schema: dict[str, Any], name: str, path: str) -> Node:
    step = name.replace("~", "~0").replace("/", "~1")
    place = f"{path}/properties/{step}"
    allowed = compiler.resolved(schema.get("propertyNames", True), path)
    if not compiler.fitting([name], allowed, place):
        raise NothingFits(place, "its name is not allowed")
    return compiler.schema(member(schema, name), place)


def _unnamed(
    compiler: SchemaCompiler, schema: dict[str, Any], least: int, most: int | None, path: str
) -> Node:
    """Members that have no names given."""
    if most is not None and most < least:
        raise NothingFits(f"{path}/maxProperties", "less than minProperties")
    if least > 1:  # a name that comes twice counts once
        compiler.cannot(f"{path}/minProperties", "distinct names")
    if "dependentRequired" in schema:
        compiler.cannot(f"{path}/dependentRequired", "'dependentRequired' for any name")
    pieces = []
    for name, value, place in _kinds(compiler, schema, path):
        try:
            key = compiler.schema(name, place)
            pieces.append(sequence(key, Text(": "), compiler.schema(value, place)))
        except NothingFits:
            continue
    if not pieces:
        if least:
            raise NothingFits(f"{path}/minProperties", "no member is allowed")
        return Text("")
    one = compiler.grammar.share(choice(pieces))
    return listed(one, least, compiler.limits.most_items(least, most))


def _kinds(
    compiler: SchemaCompiler, schema: dict[str, Any], path: str
) -> list[tuple[Schema, Schema, str]]:
    """The members by kind: the schema of the name, that of the value, and where it stands."""
    patterns = schema.get("patternProperties", {})
    names = schema.get("propertyNames", True)
    if not patterns:
        rest = schema.get("additionalProperties", True)
        return [(both({"type": "string"}, names), rest, f"{path}/additionalProperties")]
    if len(patterns) > 1 or names is not True:
        compiler.cannot(f"{path}/patternProperties", "what names of several patterns hold")
    return [
        ({"type": "string", "pattern": pattern}, value, f"{path}/patternProperties/{pattern}")
        for pattern, value in patterns.items()
    ]
