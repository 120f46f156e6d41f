"""Whatever the schema: what its grammar can generate is JSON, and the schema's."""

from __future__ import annotations

import json
from typing import Any

from grammars import Language
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from diglot.service.embedded.grammar.fault import CannotCompile, NothingFits
from diglot.service.json_schema import SchemaError, compiled, fits

Json = dict[str, Any]

NAMES = st.sampled_from(["a", "b", "x_1", "é", 'q"', "a/b"])
VALUES = st.sampled_from([None, True, 1, 1.0, 0, -2.5, "a", "", 'q"\n', [], [1], {}, {"a": 1}])
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
SIZES = st.integers(0, 4)
BOUNDS = st.sampled_from([-1000, -7, -0.5, 0, 0.25, 1, 3, 9.75, 100, 1e20])
PATTERNS = st.sampled_from(["^a", "^[a-c]{1,3}$", "b$|^x_", r"\d", "^.{2}$", "^(é|q)+$"])
FORMATS = st.sampled_from(["date", "time", "uuid", "ipv4", "email", "uri", "unknown"])
REFERENCES = st.sampled_from(["#", "#/$defs/one", "#/$defs/two"])

OF_NUMBERS: dict[str, SearchStrategy[Any]] = {
    "minimum": BOUNDS,
    "maximum": BOUNDS,
    "exclusiveMinimum": BOUNDS,
    "exclusiveMaximum": BOUNDS,
    "multipleOf": st.sampled_from([1, 2, 5, 7, 10, 0.5, 0.01, 2.5]),
}
OF_STRINGS: dict[str, SearchStrategy[Any]] = {
    "minLength": SIZES,
    "maxLength": SIZES,
    "pattern": PATTERNS,
    "format": FORMATS,
}


def keywords(inner: SearchStrategy[Any]) -> dict[str, SearchStrategy[Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    return {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=4),
        "const": VALUES,
        **OF_NUMBERS,
        **OF_STRINGS,
        "properties": st.dictionaries(NAMES, inner, max_size=3),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "additionalProperties": inner,
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
        "propertyNames": inner,
        "unevaluatedProperties": inner,
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=1), max_size=1),
        "minProperties": SIZES,
        "maxProperties": SIZES,
        "items": inner,
        "prefixItems": several,
        "unevaluatedItems": inner,
        "minItems": SIZES,
        "maxItems": SIZES,
        "uniqueItems": st.booleans(),
        "contains": inner,
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "$ref": REFERENCES,
        "description": st.just("what it is"),
    }


def some_of(known: dict[str, SearchStrategy[Any]], most: int) -> SearchStrategy[Json]:
    names = st.lists(st.sampled_from(sorted(known)), max_size=most, unique=True)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: known[name] for name in chosen})
    )


LEAVES = (
    st.booleans()
    | some_of(OF_NUMBERS, 2).map(lambda schema: {"type": "number"} | schema)
    | some_of(OF_NUMBERS, 2).map(lambda schema: {"type": "integer"} | schema)
    | some_of(OF_STRINGS, 2).map(lambda schema: {"type": "string"} | schema)
    | st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=3))
    | st.builds(lambda reference: {"$ref": reference}, REFERENCES)
)
OBJECTS = ("properties", "required", "additionalProperties", "patternProperties", "minProperties")
SCHEMAS: SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        some_of(keywords(inner), 3)
        | some_of({name: keywords(inner)[name] for name in OBJECTS}, 3)
        | some_of({name: keywords(inner)[name] for name in ("allOf", "anyOf", "oneOf", "type")}, 2)
    ),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    schema = draw(SCHEMAS)
    if isinstance(schema, dict):
        schema["$defs"] = {"one": draw(SCHEMAS), "two": draw(LEAVES)}
    return schema


FOR_A_WHILE = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)


@FOR_A_WHILE
@given(documents())
def test_what_an_exact_grammar_generates_is_of_its_schema(schema: Any) -> None:
    try:
        compiled(json.dumps(schema))
        language = Language.of(schema)
    except (SchemaError, CannotCompile):
        return
    for text in language.some(8):
        assert fits(text, json.dumps(schema)), text


@FOR_A_WHILE
@given(documents())
def test_where_nothing_need_be_exact_any_schema_that_can_hold_has_a_grammar(schema: Any) -> None:
    try:
        compiled(json.dumps(schema))
        language = Language.of(schema, exact=False)
    except (SchemaError, NothingFits):
        return
    for text in language.some(4):
        json.loads(text)
