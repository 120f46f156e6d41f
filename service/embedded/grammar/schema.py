"""JSON Schema to grammar: what can be written is what the schema allows.

A grammar stands for a part of what its schema allows, and not for more: members come in the
order of the schema, none is added that it does not name, numbers have no exponents, and there
is one way to space. What a grammar cannot say (`not`, `if`, `contains`, …) is refused where a
schema must be kept to the letter; elsewhere it is left to the check of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from ...json_schema import SchemaError, fits
from . import numbers, strings
from .arrays import array_form
from .composition import Merge, Schema, pointed_at, says_something
from .exclusion import exclude
from .fault import CannotCompile, NothingFits
from .gbnf import Grammar, Node, Rule, Text, choice, repeat, sequence
from .limits import Limits
from .lists import braced, bracketed, listed
from .objects import object_form
from .pattern import ANY_CHARACTER, character

_TYPES = ("object", "array", "string", "number", "boolean", "null")
# Keywords from which a type follows where a schema gives none.
_IMPLIED = {
    "object": {"properties", "required", "additionalProperties", "patternProperties",
               "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties",
               "dependentRequired"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains",
              "unevaluatedItems"},
    "string": {"pattern", "minLength", "maxLength", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}  # fmt: skip
_UNSAYABLE = ("not", "if", "dependentSchemas", "dependencies", "contains")
_COMBINING = ("$ref", "allOf", "anyOf", "oneOf")
_DEEPEST = 100
"""Schemas within schemas."""
_MOST_STEPS = 30_000
"""A schema takes ten. What is combined is worked out anew in each place, and can multiply
without end."""
_MOST_VALUES = 5_000
_MOST_MATCHED = 100
"""Values that are held against patterns, which can take a millisecond each."""
_MOST_OPTIONS = 100

# Of the document, what a part of it needs to be understood.
_HELD = {"$schema", "$defs", "definitions"}

_Key = tuple[Hashable, ...]


class SchemaCompiler:
    """Compiles schemas into one grammar.

    With `exact`, what cannot be enforced is refused; without, the grammar may allow more than
    the schema there.
    """

    def __init__(self, grammar: Grammar, limits: Limits, *, exact: bool) -> None:
        self.grammar = grammar
        self.limits = limits
        self.exact = exact
        self._document: Schema = True
        # Each with its schema, so that the keys, which are of ids, stay its own.
        self._rules: dict[_Key, tuple[Schema, Rule | CannotCompile]] = {}
        self._anything: dict[int, Node] = {}
        self._merge = Merge(self._spend, exact=exact)
        self._depth = 0
        self._spent = 0

    def compile(self, document: Schema) -> Node:
        """The values that the schema allows, as JSON text. Raises CannotCompile."""
        self._document, self._rules = document, {}
        return self._finite(self.schema(document, ""))

    def compile_object(self, document: Schema) -> Node:
        """Those of the values that are objects. Raises CannotCompile."""
        self._document, self._rules = document, {}
        whole = {"allOf": [{"type": "object"}, document]}
        try:
            return self._finite(self._form(whole, ""))
        except NothingFits:
            raise
        except CannotCompile:
            if self.exact:
                raise
            return self._typed("object", {}, "")

    def _finite(self, node: Node) -> Node:
        if not self.grammar.can_end(node):
            raise NothingFits("", "no finite value has this form")
        return node

    def cannot(self, path: str, why: str) -> None:
        """Where a schema must be kept to the letter, says why this one cannot be."""
        if self.exact:
            raise CannotCompile(path, f"{why} cannot be enforced while decoding")

    def resolved(self, schema: Schema, path: str) -> Schema:
        """The schema, with the one that it refers to in place of the reference."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            target = pointed_at(self._document, schema["$ref"], path)
            schema = self._merge.of([target, _without(schema, "$ref")], path, whole=1)
        raise CannotCompile(path, "references that lead to nothing but references")

    def fitting(self, values: list[Any], schema: Schema, path: str) -> list[Any]:
        """Those of the values that the schema allows."""
        if not says_something(schema):
            return values
        if isinstance(self._document, dict) and isinstance(schema, dict):
            schema = {key: self._document[key] for key in _HELD & self._document.keys()} | schema
        text = json.dumps(schema)
        self._spend(len(text) // 50)
        if len(values) > _MOST_MATCHED and '"pattern"' in text:
            raise CannotCompile(path, "too many values beside a pattern")
        try:
            return [value for value in values if fits(json.dumps(value), text)]
        except SchemaError:
            self.cannot(path, "values beside references to this place")
            return values

    def _spend(self, steps: int) -> None:
        self._spent += steps
        if self._spent > _MOST_STEPS:
            raise CannotCompile("", "it is too large")

    def schema(self, schema: Schema, path: str) -> Node:
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise CannotCompile(path, "it is nested too deep")
            self._spend(10)
            return self._form(schema, path)
        except NothingFits:
            raise
        except CannotCompile:
            if self.exact:
                raise
            return self._loosely(schema, path)
        finally:
            self._depth -= 1

    def _loosely(self, schema: Schema, path: str) -> Node:
        """Any value of the schema's types."""
        if not isinstance(schema, dict) or "type" not in schema:
            return self._any_value(self.limits.depth)
        return choice(self._typed(kind, {}, path) for kind in _kinds(schema))

    def _form(self, schema: Schema, path: str) -> Node:
        if not isinstance(schema, dict):
            if not schema:
                raise NothingFits(path, "nothing is allowed here")
            return self._any_value(self.limits.depth)
        for keyword in ("const", "enum"):
            if keyword in schema:
                values = [schema["const"]] if keyword == "const" else schema["enum"]
                return self._values(values, _without(schema, keyword), path)
        for keyword in _UNSAYABLE:
            if keyword in schema:
                self.cannot(f"{path}/{keyword}", f"'{keyword}'")
        if not schema.keys().isdisjoint(_COMBINING):
            return self._combined(schema, path)
        return _choice_of(
            (partial(self._typed, kind, schema, path) for kind in _kinds(schema)), path
        )

    def _values(self, values: list[Any], beside: dict[str, Any], path: str) -> Node:
        if len(values) > _MOST_VALUES:
            raise CannotCompile(path, "too many values")
        fitting = self.fitting(values, beside, path)
        if not fitting:
            raise NothingFits(path, "none of the values is allowed by the rest of the schema")
        return self.grammar.share(choice(map(strings.literal, fitting)))

    def _combined(self, schema: dict[str, Any], path: str) -> Node:
        """By a rule: schemas that are made of others can be made of themselves."""
        key = _key(schema)
        if key not in self._rules:
            rule = self.grammar.reserve()
            self._rules[key] = schema, rule
            try:
                self.grammar.define(rule, self._combination(schema, path))
            except CannotCompile as error:
                self._rules[key] = schema, error
        _, found = self._rules[key]
        if isinstance(found, CannotCompile):
            raise found
        return found

    def _combination(self, schema: dict[str, Any], path: str) -> Node:
        if "$ref" in schema:
            return self.schema(self.resolved(schema, path), path)
        if "allOf" in schema:
            members = [self.resolved(member, path) for member in schema["allOf"]]
            whole = self._merge.of([_without(schema, "allOf"), *members], path, whole=0)
            return self.schema(whole, path)
        keyword = "anyOf" if "anyOf" in schema else "oneOf"
        beside = _without(schema, keyword)
        options: list[tuple[Schema, str]] = []
        for index, member in enumerate(schema[keyword]):
            place = f"{path}/{keyword}/{index}"
            try:
                if says_something(beside):
                    member = self._merge.of([self.resolved(member, place), beside], place, whole=1)
                options.append((member, place))
            except NothingFits:
                continue
        if keyword == "oneOf" and self.exact:
            self._check_exclusive([member for member, _ in options], f"{path}/oneOf")
        return _choice_of((partial(self.schema, *option) for option in options), path)

    def _check_exclusive(self, options: list[Schema], path: str) -> None:
        resolved = partial(self.resolved, path=path)
        pairs = combinations(options[: _MOST_OPTIONS + 1], 2)
        if len(options) > _MOST_OPTIONS or not all(exclude(*pair, resolved) for pair in pairs):
            self.cannot(path, "that no two options hold at once")

    def _typed(self, kind: str, schema: dict[str, Any], path: str) -> Node:
        match kind:
            case "object":
                return self.grammar.share(object_form(self, schema, path))
            case "array":
                return self.grammar.share(array_form(self, schema, path))
            case "string":
                return strings.string(self.grammar, schema, self.limits, path, exact=self.exact)
            case "null":
                return Text("null")
            case "boolean":
                return choice([Text("true"), Text("false")])
        whole = kind == "integer"
        return numbers.number(self.grammar, schema, path, whole=whole, exact=self.exact)

    def _any_object(self, depth: int) -> Node:
        """Any object, nested no deeper than that."""
        one = repeat(character(ANY_CHARACTER), 1, self.limits.string)
        key = strings.quoted(self.grammar.share(one))
        member = self.grammar.share(sequence(key, Text(": "), self._any_value(depth - 1)))
        return braced(listed(member, 0, self.limits.items))

    def _any_value(self, depth: int) -> Node:
        """Any JSON."""
        if depth not in self._anything:
            options = [
                strings.string(self.grammar, {}, self.limits, "", exact=False),
                numbers.number(self.grammar, {}, "", whole=False, exact=False),
                *map(Text, ("true", "false", "null")),
            ]
            if depth > 0:
                inner = listed(self._any_value(depth - 1), 0, self.limits.items)
                options += [self._any_object(depth), bracketed(inner)]
            self._anything[depth] = self.grammar.share(choice(options))
        return self._anything[depth]


def _choice_of(attempts: Iterable[Callable[[], Node]], path: str) -> Node:
    """Those of the alternatives of which there is any value."""
    found, fault = [], NothingFits(path, "nothing is allowed here")
    for attempt in attempts:
        try:
            found.append(attempt())
        except NothingFits as error:
            fault = error
    if not found:
        raise fault
    return choice(found)


def _kinds(schema: dict[str, Any]) -> Sequence[str]:
    given = schema.get("type")
    if given is None:
        return [kind for kind, words in _IMPLIED.items() if words & schema.keys()] or _TYPES
    kinds = [given] if isinstance(given, str) else given
    return [kind for kind in kinds if not (kind == "integer" and "number" in kinds)]


def _without(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != keyword}


def _key(schema: dict[str, Any]) -> _Key:
    """The same for a schema that is put together again from the same parts."""
    parts: list[Hashable] = []
    for keyword, value in schema.items():
        if isinstance(value, list):
            parts.append((keyword, *map(id, value)))
        else:
            plain = isinstance(value, str | int | float)
            parts.append((keyword, value if plain else id(value)))
    return tuple(parts)
