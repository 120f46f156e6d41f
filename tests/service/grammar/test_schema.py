"""The table of schemas: what can be generated is of the schema, and what should be can be."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from grammars import Language

from diglot.service.embedded.grammar.fault import CannotCompile, NothingFits
from diglot.service.embedded.grammar.limits import Limits

NODE = {
    "type": "object",
    "properties": {
        "v": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["v", "next"],
}
A = {
    "type": "object",
    "properties": {"kind": {"const": "a"}, "x": {"type": "string"}},
    "required": ["kind", "x"],
}
B = {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]}
FLAGS = {name: {"type": "boolean"} for name in "abc"}
INT_A = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}

# A schema, texts that its grammar must allow, and texts that it must not.
TABLE: list[tuple[str, Any, list[str], list[str]]] = [
    ("anything", {}, ["null", "-1.5", '"é"', '[1, {"a": []}]'], ["", "[1,2]", "nul"]),
    ("any object", {"type": "object"}, ["{}", '{"a": 1, "b": [null]}'], ["[]", "1"]),
    ("members in order", {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}, "required": ["b"]}, ['{"a": "", "b": true}', '{"b": false}'], ['{"b": true, "a": ""}', '{"a": ""}', '{"b":true}', '{"b": true, "c": 1}']),
    ("names with signs", {"properties": {'q"\n\\': {"const": 1}, "ключ": {"enum": ["é\"\n", None, {"a": [1]}]}}}, ['{"q\\"\\n\\\\": 1, "ключ": {"a": [1]}}', '{"ключ": "é\\"\\n"}'], ['{"q"\n\\": 1}']),
    ("required, not named", {"type": "object", "required": ["a"], "additionalProperties": {"type": "null"}}, ['{"a": null}'], ["{}", '{"a": 1}']),
    ("a map", {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}, ['{"a": 1}', '{"": 0, "b": 2}'], ["{}"]),
    ("names of a pattern", {"type": "object", "patternProperties": {"^x_[a-z]$": {"type": "null"}}, "additionalProperties": False}, ['{"x_a": null}', "{}"], ['{"x_1": null}']),
    ("a named member that a pattern speaks of", {"properties": {"x_a": {"type": ["string", "integer"]}}, "patternProperties": {"^x_": {"type": "integer"}}}, ['{"x_a": 3}'], ['{"x_a": "3"}']),
    ("names from a list", {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "boolean"}}, ['{"b": true}'], ['{"c": true}']),
    ("named members that may not be", {"type": "object", "properties": {"ab": {}, "c": {"const": 1}}, "propertyNames": {"maxLength": 1}}, ['{"c": 1}'], ['{"ab": 1}']),
    ("between so many members", {"properties": FLAGS, "minProperties": 1, "maxProperties": 2}, ['{"a": true}', '{"c": true}', '{"a": true, "c": true}'], ["{}", '{"a": true, "b": true, "c": true}']),
    ("as many members as a float", {"properties": FLAGS, "minProperties": 3.0}, ['{"a": true, "b": true, "c": true}'], ['{"a": true, "b": true}']),
    ("members that bring others", {"properties": FLAGS, "dependentRequired": {"a": ["d"], "d": ["b"]}, "additionalProperties": {"const": 0}}, ['{"a": true, "b": true, "d": 0}'], ['{"a": true, "b": true}', '{"a": true, "d": 0}']),
    ("what is not evaluated", {"allOf": [INT_A], "properties": {"b": {"const": 1}}, "required": ["b"], "unevaluatedProperties": False}, ['{"b": 1, "a": 2}'], ['{"b": 1, "a": 2, "c": 1}']),
    ("a list", {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}, ["[true]", "[true, false, true]"], ["[]", "[true,true]", "[true, true, true, true]"]),
    ("first items of their own", {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": {"const": 1}, "minItems": 1}, ['[""]', '["", null, 1, 1]'], ["[]", "[null]", '["", null, null]']),
    ("first items, and no others", {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": False}, ["[]", "[1]", "[1, 2]"], ["[1, 2, 3]"]),
    ("first items as draft 7 had them", {**DRAFT_7, "type": "array", "items": [{"const": 1}], "additionalItems": {"const": 2}}, ["[1, 2, 2]"], ["[2]"]),
    ("prefixItems, which draft 7 has not", {**DRAFT_7, "type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}}, ["[2, 2]"], ["[1]"]),
    ("distinct items", {"type": "array", "items": {"enum": ["a", "b", 1, 1.0]}, "uniqueItems": True, "minItems": 2}, ['["a", "b"]', '["a", 1]'], ['["a"]', '["a", "a"]', "[1, 1.0]"]),
    ("values that the rest allows", {"enum": [1, "a", None, True], "type": ["integer", "null"], "maximum": 1}, ["1", "null"], ['"a"', "true"]),
    ("values of an exact type", {"allOf": [{"enum": [1, 0, "x"]}, {"enum": [True, 0.0, "x"]}]}, ["0", '"x"'], ["1", "true"]),
    ("numbers", {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5}, ["0.01", "1", "1.50"], ["0", "0.00", "1.51", "-1", "1e0"]),
    ("draft 4's exclusive bounds", {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": False}, ["4", "5"], ["3", "6"]),
    ("strings of a length", {"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"é\\n😀"'], ['"a"', '"abcd"', '"a\n"']),
    ("strings of a pattern and a length", {"type": "string", "pattern": "^[A-Z][a-z]*$", "minLength": 3, "maxLength": 4}, ['"Abc"', '"Abcd"'], ['"Ab"', '"Abcde"', '"abc"']),
    ("a type, or another", {"type": ["string", "null"], "maxLength": 1}, ["null", '"a"'], ['"ab"', "1"]),
    ("an impossible type beside others", {"type": ["string", "null"], "minLength": 2, "maxLength": 1}, ["null"], ['""']),
    ("an option that cannot be", {"anyOf": [{"type": "string"}, {"type": "null"}], "type": "string"}, ['""'], ["null"]),
    ("options that exclude each other by a value", {"oneOf": [A, B]}, ['{"kind": "a", "x": ""}', '{"kind": "b"}'], ['{"kind": "a"}']),
    ("options that exclude each other by type", {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "array"}]}, ['""', "1", "[]"], ["null"]),
    ("options that exclude each other by a name", {"oneOf": [{**INT_A, "additionalProperties": False}, {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["b"]}]}, ['{"a": 1}', '{"b": null}'], ["{}"]),
    ("all of several", {"allOf": [INT_A, {"properties": {"a": {"maximum": 5}, "b": {"type": "boolean"}}, "required": ["b"]}]}, ['{"a": 5, "b": true}'], ['{"a": 6, "b": true}']),
    ("any of these, and any of those", {"allOf": [{"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}]}, ["1"], ['""', "null"]),
    ("each part's rest is of its own", {"type": "object", "allOf": [{"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"properties": {"b": {}}, "required": ["b"]}]}, ['{"b": 1}'], ['{"b": "x"}']),
    ("each part's items are of its own", {"type": "array", "allOf": [{"items": {"type": "integer"}}, {"prefixItems": [{"minimum": 5}], "minItems": 1, "maxItems": 1}]}, ["[5]"], ["[4]", '["a"]']),
    ("a closed part", {"allOf": [{**INT_A, "additionalProperties": False}, {"type": "object", "properties": {"a": {"minimum": 3}, "b": {}}}]}, ['{"a": 3}'], ['{"a": 3, "b": 1}', '{"a": 2}']),
    ("itself", {"$ref": "#/$defs/node", "$defs": {"node": NODE}}, ['{"v": 1, "next": {"v": 2, "next": null}}'], ['{"v": 1}']),
    ("itself, with conditions", {"type": "object", "properties": {"c": {"$ref": "#", "minProperties": 0}}, "additionalProperties": False}, ['{"c": {"c": {"c": {}}}}'], ['{"d": 1}']),
    ("a reference and a description", {"properties": {"a": {"$ref": "#/$defs/%C3%A9~1e", "description": "hm"}}, "required": ["a"], "$defs": {"é/e": {"enum": [1, 2]}}}, ['{"a": 2}'], ['{"a": 3}']),
    ("what never ends left out", {"type": "object", "properties": {"a": {"$ref": "#/$defs/endless"}, "b": {"const": 1}}, "required": ["b"], "$defs": {"endless": {"type": "object", "properties": {"a": {"$ref": "#/$defs/endless"}}, "required": ["a"]}}}, ['{"b": 1}'], ['{"a": {}, "b": 1}']),
    ("words that mean nothing", {"type": "integer", "nullable": True, "x-order": 3, "title": "t", "default": "no"}, ["1"], ["null"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "can", "cannot"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_a_grammar_is_neither_wider_nor_needlessly_narrower_than_its_schema(
    schema: Any, can: list[str], cannot: list[str]
) -> None:
    language = Language.of(schema)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    generated = language.some(60)
    for text in [*can, *generated]:
        assert text in language
        assert validator.is_valid(json.loads(text)), text
    for text in cannot:
        assert text not in language


@pytest.mark.parametrize(
    "form", ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
)  # fmt: skip
def test_formats_are_kept(form: str) -> None:
    validator = jsonschema_rs.validator_for({"format": form}, validate_formats=True)
    for text in Language.of({"type": "string", "format": form}).some(100):
        assert validator.is_valid(json.loads(text)), text


def test_a_format_gives_way_to_lengths() -> None:
    assert '"x"' in Language.of({"type": "string", "format": "date", "maxLength": 3})


@pytest.mark.parametrize(
    ("schema", "path", "why"),
    [
        (False, "", "nothing is allowed"),
        ({"not": {}}, "/not", "cannot be enforced"),
        ({"properties": {"a": {"properties": {"b": {"if": {}}}}}}, "/properties/a/properties/b/if", "'if'"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "/uniqueItems", "cannot"),
        ({"type": "array", "contains": {}}, "/contains", "cannot"),
        ({"type": "string", "pattern": "(?=a)"}, "/pattern", "lookaround at position 0"),
        ({"type": "string", "pattern": "a+b+", "maxLength": 3}, "/pattern", "exceed"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "", "no number"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "", "exclude each other"),
        ({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 0}]}, "/oneOf", "hold at once"),
        ({"type": "array", "prefixItems": [{}], "items": False, "minItems": 2}, "/minItems", "more than"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "", "no finite value"),
        ({"properties": {"a/b": {"enum": [1], "type": "null"}}, "required": ["a/b"]}, "/properties/a~1b", "none of the values"),
        ({"required": ["a"], "additionalProperties": False}, "/properties/a", "nothing is allowed"),
        ({"type": "object", "patternProperties": {"^a": {}, "b$": {"type": "null"}}}, "/patternProperties", "several patterns"),
        ({"allOf": [{"type": "object", "unevaluatedProperties": False}, INT_A]}, "", "in a part"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_to_the_letter_is_refused_with_its_place(
    schema: Any, path: str, why: str
) -> None:
    with pytest.raises(CannotCompile, match=why) as caught:
        Language.of(schema)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("schema", "can"),
    [
        ({"not": {"type": "string"}, "type": "integer"}, "5"),
        ({"type": "object", "if": {}, "then": {}, "properties": {"a": {"const": 1}}}, '{"a": 1}'),
        ({"allOf": [{"if": {"required": ["a"]}}, {"if": {"required": ["b"]}}], "type": "object"}, "{}"),
        ({"type": "string", "pattern": "(?=a)"}, '"b"'),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, '["a", "a"]'),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "5"),
        ({"anyOf": [{"$ref": "#/$defs/a/b"}, {"type": "null"}], "$defs": {"a": {"type": "null"}}}, "null"),
        ({"type": "number", "multipleOf": 0.3}, "0.5"),
    ],
)  # fmt: skip
def test_elsewhere_it_is_left_to_the_check_of_the_answer(schema: Any, can: str) -> None:
    assert can in Language.of(schema, exact=False)


def test_nothing_at_all_fits_in_either_way() -> None:
    with pytest.raises(NothingFits):
        Language.of({"type": "object", "required": ["a"], "maxProperties": 0}, exact=False)


def test_limits_are_for_what_the_schema_leaves_open() -> None:
    limits = Limits(string=3, items=2)
    open_ended = Language.of({"type": "array", "items": {"type": "string"}}, limits=limits)
    assert '["abc", "abc"]' in open_ended
    assert '["abcd"]' not in open_ended
    assert '["a", "a", "a"]' not in open_ended
    asked = {"type": "array", "items": {"type": "string", "minLength": 5}, "minItems": 3}
    assert '["abcde", "abcde", "abcde"]' in Language.of(asked, limits=limits)
