"""JSON Schemas in words: "array of string or null", "0 to 2"."""

from __future__ import annotations

import json
from html import escape
from typing import Any


def type_of(schema: dict[str, Any]) -> str:
    """As HTML; objects with a name are links to where they are described."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{escape(name)}</a>'
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _either(type_of(branch) for branch in schema[union])
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return _either(_literal(value) for value in schema["enum"])
    types = schema.get("type", "any")
    return _either(_plain(kind, schema) for kind in ([types] if isinstance(types, str) else types))


def limits(schema: dict[str, Any]) -> str:
    """What a value must keep to, beyond its type. Empty if nothing."""
    found = [_of_one(branch) for branch in (schema, *schema.get("anyOf", ()))]
    return "; ".join(dict.fromkeys(said for said in found if said))


def _of_one(schema: dict[str, Any]) -> str:
    said = []
    low, high = schema.get("minimum"), schema.get("maximum")
    # The bounds of 32 and 64 bits are no news.
    if high is not None and high >= 2**31 - 1:
        high = None
    if low is not None and low <= -(2**31):
        low = None
    if low is not None and high is not None:
        said.append(f"{low} to {high}")
    elif low:
        said.append(f"at least {low}")
    for word, least, most in (
        ("items", schema.get("minItems"), schema.get("maxItems")),
        ("characters", schema.get("minLength"), schema.get("maxLength")),
        ("keys", None, schema.get("maxProperties")),
    ):
        if least == 1 and most is None:
            said.append("not empty")
        elif most is not None:
            said.append(f"at most {most} {word}")
    if "default" in schema:
        said.append(f"default {schema['default']}")
    return ", ".join(said)


def _plain(kind: str, schema: dict[str, Any]) -> str:
    if kind == "array":
        return f"array of {type_of(schema.get('items', {}))}"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict):
        return f"object of {type_of(values)}"
    return escape(kind)


def _either(parts: Any) -> str:
    return " or ".join(dict.fromkeys(parts))


def _literal(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"<code>{escape(text)}</code>"
