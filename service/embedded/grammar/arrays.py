"""Arrays: the first items each of its own form, the others of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .composition import Schema, identity, items
from .fault import NothingFits
from .gbnf import NOTHING, Node
from .lists import after, bracketed, members
from .strings import literal

if TYPE_CHECKING:
    from .schema import SchemaCompiler

_MOST_DISTINCT = 64


def array_form(compiler: SchemaCompiler, schema: dict[str, Any], path: str) -> Node:
    """An array with its brackets. Raises CannotCompile."""
    least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
    most = None if most is None else int(most)
    first, rest = items(schema)
    silent = "additionalItems" if isinstance(schema.get("items"), list) else "items"
    if silent not in schema:
        rest = schema.get("unevaluatedItems", True)
        if first and rest is True and most is None:
            most = max(least, len(first))  # what nobody speaks of is better left out
    if schema.get("uniqueItems") and (most is None or most > 1):
        distinct = None if first else _distinct(compiler, rest, least, most, path)
        if distinct is not None:
            return bracketed(distinct)
        compiler.cannot(f"{path}/uniqueItems", "'uniqueItems'")
    heads: list[Node] = []
    for index, form in enumerate(first[:most]):
        try:
            heads.append(compiler.schema(form, f"{path}/prefixItems/{index}"))
        except NothingFits:
            most = index
            break
    tail: Node = NOTHING
    if most is None or most > len(heads):
        try:
            tail = compiler.grammar.share(compiler.schema(rest, f"{path}/items"))
        except NothingFits:
            most = len(heads)
    if most is not None and most < least:
        raise NothingFits(f"{path}/minItems", "more than there may be")
    most = compiler.limits.most_items(max(least, len(heads)), most)
    return bracketed(after(compiler.grammar, heads, tail, least, most))


def _distinct(
    compiler: SchemaCompiler, item: Schema, least: int, most: int | None, path: str
) -> Node | None:
    """Distinct items, in one order, where they are among a few values."""
    form = compiler.resolved(item, path)
    if not isinstance(form, dict) or not 0 < len(form.get("enum", ())) <= _MOST_DISTINCT:
        return None
    beside = {key: value for key, value in form.items() if key != "enum"}
    fitting = compiler.fitting(form["enum"], beside, f"{path}/items")
    distinct: dict[Any, Node] = {}
    for value in fitting:
        distinct.setdefault(identity(value), literal(value))
    values = list(distinct.values())
    if least > len(values) or (most is not None and most < least):
        raise NothingFits(f"{path}/minItems", "more than there may be")
    return members(compiler.grammar, [(value, False) for value in values], least, most)
