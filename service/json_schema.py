"""JSON Schemas of callers: compiled once, and safe to hold against anything."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
from pydantic_core import from_json

from .json_reference import UnfollowedReference, check_references, schemas
from .json_visits import TooManyVisits, count_visits
from .kept import kept

# A tenth of a second or so.
_MOST_VISITS = 300_000
# Characters times characters; below it, a schema without references cannot take that long.
_LARGE = 10**8

_NOT_FOLLOWED = "references to other documents are not followed"
# As the library says it of what the retriever refused, or could not be asked for.
_OUTSIDE = re.compile("Resource '(.*)' is not present in a registry and retrieving it failed: .*")


class SchemaError(Exception):
    """A text that is no schema; `str` says what and where."""


def _small(text: str) -> bool:
    return len(text) <= 16_384


@kept(512, _small)
def compiled(text: str) -> jsonschema_rs.Validator:
    """A validator for the schema in this JSON text. Raises SchemaError.

    `format` stays an annotation, as the standard has it. Patterns that would backtrack
    for ever count as not matching.
    """
    schema = parsed(text)
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            validate_formats=False,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000),
            retriever=_no_retrieval,
        )
        check_references(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise SchemaError(_described(error)) from None
    except (UnfollowedReference, ValueError) as error:  # or deeper than it recurses
        raise SchemaError(str(error)) from None
    return validator


def fits(text: str, schema: str) -> bool:
    """Whether the text is JSON of the schema.

    Where references multiply, or both are huge, holding one against the other could take
    for ever, with nothing to stop it: what takes too many steps does not fit.
    """
    validator = compiled(schema)
    try:
        # As clients read it. Not from_json, which knows no number of more digits than a double.
        value: Any = json.loads(text, parse_constant=_no_constant)
        document = _referring(schema)
        if document is None and len(text) * len(schema) > _LARGE:
            document = parsed(schema)
        if document is not None:
            count_visits(document, value, _MOST_VISITS)
        return validator.is_valid(value)
    except (ValueError, RecursionError, TooManyVisits):
        return False


def parsed(text: str) -> Any:
    """The schema in the JSON text, without what its `$schema` does not know: that can be
    anything. Raises SchemaError. At most 200 levels deep."""
    try:
        value = from_json(text, allow_inf_nan=False)
        json.dumps(value, allow_nan=False)  # 1e999 has become infinite
    except ValueError as error:
        raise SchemaError(f"it is not valid JSON: {error}") from None
    unknown = _unknown_to(value.get("$schema") if isinstance(value, dict) else None)
    if unknown:
        for schema, _ in schemas(value):
            for keyword in unknown & schema.keys():
                del schema[keyword]
    return value


_NEW_IN = {
    "draft/2020-12": {"prefixItems"},
    "draft/2019-09": {"dependentRequired", "dependentSchemas", "minContains", "maxContains"}
    | {"unevaluatedProperties", "unevaluatedItems"},
    "draft-07": {"if", "then", "else"},
    "draft-06": {"const", "contains", "propertyNames"},
}


def _unknown_to(draft: Any) -> set[str]:
    unknown: set[str] = set()
    if isinstance(draft, str):
        for name, keywords in _NEW_IN.items():
            if name in draft:
                break
            unknown |= keywords
    return unknown


@kept(512, _small)
def _referring(text: str) -> Any:
    """The schema in the text if it has references; else None."""
    document = parsed(text)
    return document if any("$ref" in schema for schema, _ in schemas(document)) else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _no_retrieval(uri: str) -> Any:
    """A schema that a caller sends must not make this server fetch, or read files."""
    raise ValueError(_NOT_FOLLOWED)


def _described(error: Exception) -> str:
    first = str(error).partition("\n")[0]
    if outside := _OUTSIDE.fullmatch(first):
        first = f"'{outside[1][:100]}': {_NOT_FOLLOWED}"
    first = first[:300]
    path = getattr(error, "instance_path", None)
    return f"at '{'/'.join(map(str, path))}': {first}" if path else first
