"""Schemas that are made of others: all of several, as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema_rs

from ...json_reference import referent
from ...kept import kept
from .fault import CannotCompile, NothingFits

Schema = dict[str, Any] | bool

_MOST_PATTERNS = 32

_LARGEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_MEMBERS = ("properties", "patternProperties", "additionalProperties")
_ITEMS = ("prefixItems", "items", "additionalItems")
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
# Everything that constrains. Other keywords describe, or are nobody's.
_CONSTRAINING = frozenset(
    {"$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"}
    | {"dependentRequired", "dependencies", "type", "enum", "const", "required", "propertyNames"}
    | {"contains", "minContains", "maxContains", "uniqueItems", "pattern", "format", "multipleOf"}
    | {*_LARGEST, *_SMALLEST, *_MEMBERS, *_ITEMS, *_UNEVALUATED}
)


def says_something(schema: Schema) -> bool:
    return schema is False or (isinstance(schema, dict) and not _CONSTRAINING.isdisjoint(schema))


def pointed_at(document: Schema, reference: str, path: str) -> Schema:
    """What a reference inside the document means."""
    found = referent(document, reference)
    if not isinstance(found, dict | bool):
        raise CannotCompile(path, f"'{reference}' leads nowhere in this schema")
    return found


def identity(value: Any) -> Any:
    """The same for what JSON Schema takes for equal, and hashable: 1 is 1.0, and not true."""
    if isinstance(value, dict):
        return frozenset((name, identity(member)) for name, member in value.items())
    if isinstance(value, list):
        return tuple(map(identity, value))
    return (bool, value) if isinstance(value, bool) else value


def both(one: Schema, other: Schema) -> Schema:
    """What both allow, to be worked out when it is needed."""
    if one is False or other is False:
        return False
    parts = {id(part): part for part in (*_parts(one), *_parts(other))}
    return {"allOf": [*parts.values()]} if len(parts) > 1 else next(iter(parts.values()), True)


def _parts(schema: Schema) -> list[Schema]:
    if not isinstance(schema, dict):
        return []
    return schema["allOf"] if schema.keys() == {"allOf"} else [schema]


class Merge:
    """Makes one schema of several. Without `exact`, it rather allows more than to refuse.

    `spend` is told of the work, in steps: a schema, a name. It may raise.
    """

    def __init__(self, spend: Callable[[int], None], *, exact: bool) -> None:
        self._spend = spend
        self._exact = exact

    def of(self, schemas: Sequence[Schema], path: str, *, whole: int) -> Schema:
        """One schema that allows what all of them allow.

        The one at the place `whole` is what the others are parts of: `unevaluatedProperties`
        there speaks of theirs too. Raises CannotCompile.
        """
        self._spend(10 * len(schemas))
        speaking = [index for index, schema in enumerate(schemas) if says_something(schema)]
        result: Schema = True
        for index in speaking:
            schema = schemas[index]
            if isinstance(schema, dict):
                schema = {key: value for key, value in schema.items() if key in _CONSTRAINING}
                if index != whole and len(speaking) > 1:
                    self._leave_unevaluated(schema, path)
            if isinstance(result, dict) and isinstance(schema, dict):
                result = self._two(result, schema, path)
            else:
                result = both(result, schema)
        return result

    def _leave_unevaluated(self, schema: dict[str, Any], path: str) -> None:
        for key in _UNEVALUATED:
            if schema.pop(key, None) is not None:
                self._cannot(path, f"'{key}' in a part of a schema")

    def _cannot(self, path: str, why: str) -> None:
        if self._exact:
            raise CannotCompile(path, f"{why} cannot be enforced while decoding")

    def _two(self, one: dict[str, Any], other: dict[str, Any], path: str) -> dict[str, Any]:
        result = dict(one)
        for key, value in other.items():
            if key not in result:
                result[key] = value
            elif key not in (*_MEMBERS, *_ITEMS) and result[key] is not value:
                result[key] = self._value(key, result[key], value, path)
        if not result.keys().isdisjoint(_MEMBERS):
            result |= self._members(one, other, path)
        if not result.keys().isdisjoint(_ITEMS):
            result.pop("additionalItems", None)
            result |= _merged_items(one, other)
        return result

    def _value(self, key: str, one: Any, other: Any, path: str) -> Any:
        """One value for a keyword that stands in both."""
        if isinstance(one, bool) and isinstance(other, bool):  # uniqueItems, and draft 4's bounds
            return one or other
        if key in _LARGEST:
            return max(one, other)
        if key in _SMALLEST:
            return min(one, other)
        match key:
            case "required":
                return [*dict.fromkeys([*one, *other])]
            case "type":
                return _common_types(one, other, path)
            case "enum":
                theirs = {identity(value) for value in other}
                return [value for value in one if identity(value) in theirs]
            case "const":
                if identity(one) != identity(other):
                    raise NothingFits(path, "values that exclude each other")
                return one
            case "allOf":
                return [*{id(part): part for part in (*one, *other)}.values()]
            case "anyOf" | "oneOf":
                return [both(member, {key: other}) for member in one]
            case "propertyNames":
                return both(one, other)
            case "format":
                return one  # it only says what a string means
            case "multipleOf" if isinstance(one, int) and isinstance(other, int):
                return math.lcm(one, other)
            case "pattern" | "multipleOf" | "dependentRequired" if one == other:
                return one
        self._cannot(path, f"'{key}' more than once")
        return one

    def _members(self, one: dict[str, Any], other: dict[str, Any], path: str) -> dict[str, Any]:
        """`additionalProperties` speaks of what is beside it, and of nothing else: so each
        side is asked about every name."""
        result: dict[str, Any] = {}
        names = dict.fromkeys([*one.get("properties", {}), *other.get("properties", {})])
        self._spend(len(names))
        if names:
            result["properties"] = {
                name: both(member(one, name), member(other, name)) for name in names
            }
        rests = [one.get("additionalProperties", True), other.get("additionalProperties", True)]
        if rests != [True, True]:
            result["additionalProperties"] = both(*rests)
        ours, theirs = one.get("patternProperties", {}), other.get("patternProperties", {})
        if ours or theirs:
            result["patternProperties"] = {
                pattern: both(ours.get(pattern, True), theirs.get(pattern, True))
                for pattern in dict.fromkeys([*ours, *theirs])
            }
            alone = (ours.keys() - theirs and rests[1] is not True) or (
                theirs.keys() - ours and rests[0] is not True
            )
            if alone:
                self._cannot(path, "'patternProperties' beside another 'additionalProperties'")
        return result


def _common_types(one: str | list[str], other: str | list[str], path: str) -> list[str]:
    ours = [one] if isinstance(one, str) else one
    theirs = [other] if isinstance(other, str) else other
    common = [kind for kind in ours if kind in theirs]
    for those, these in ((ours, theirs), (theirs, ours)):
        if "integer" in those and "number" in these and "integer" not in common:
            common.append("integer")
    if not common:
        raise NothingFits(path, "types that exclude each other")
    return common


def member(schema: dict[str, Any], name: str) -> Schema:
    """What a schema for objects says of the member of that name. Raises CannotCompile."""
    form: Schema = True
    named = False
    if name in schema.get("properties", {}):
        form, named = schema["properties"][name], True
    patterns = schema.get("patternProperties", {})
    if len(patterns) > _MOST_PATTERNS:
        raise CannotCompile("", f"more than {_MOST_PATTERNS} patterns of names")
    for pattern, other in patterns.items():
        if matches(pattern, name):
            form, named = both(form, other), True
    return form if named else schema.get("additionalProperties", True)


def matches(pattern: str, name: str) -> bool:
    """Raises CannotCompile."""
    try:
        return _matcher(pattern).is_valid(name)
    except jsonschema_rs.ValidationError:
        raise CannotCompile("", f"names that match '{pattern[:100]}'") from None


@kept(256, lambda pattern: len(pattern) <= 1000)
def _matcher(pattern: str) -> jsonschema_rs.Validator:
    # Without backtracking: there may be many names, and many patterns.
    return jsonschema_rs.validator_for(
        {"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions()
    )


def items(schema: dict[str, Any]) -> tuple[list[Schema], Schema]:
    """What a schema for arrays says of the first items, and of the others."""
    rest = schema.get("items", True)
    if isinstance(rest, list):  # as it was before 2020-12
        return rest, schema.get("additionalItems", True)
    return schema.get("prefixItems", []), rest


def _merged_items(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    (ours, our_rest), (theirs, their_rest) = items(one), items(other)
    count = max(len(ours), len(theirs))
    first = [
        both(mine, yours)
        for mine, yours in zip(
            [*ours, *[our_rest] * (count - len(ours))],
            [*theirs, *[their_rest] * (count - len(theirs))],
            strict=True,
        )
    ]
    return {"prefixItems": first, "items": both(our_rest, their_rest)}
