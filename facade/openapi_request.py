"""The request's schemas: the façade's own models, with words and with the core's limits."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .openapi_fields import LIMITS, Schema, description

_PLACE = "#/components/schemas/"
# Which keywords say something of which type; elsewhere they would mean nothing.
_KEYWORDS = {
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "enum"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "object": {"propertyNames", "additionalProperties", "maxProperties"},
}


def request_schemas(*models: type[BaseModel]) -> dict[str, Schema]:
    """By name: the models, and what they are made of."""
    found: dict[str, Schema] = {}
    for model in models:
        root = model.model_json_schema(ref_template=_PLACE + "{model}")
        arrays = {
            _PLACE + name: schema
            for name, schema in root.get("$defs", {}).items()
            if name.startswith("Array_")
        }
        for name, schema in {**root.pop("$defs", {}), model.__name__: root}.items():
            if _PLACE + name not in arrays:
                found[name] = _object(name, _simple(schema, arrays))
    return dict(sorted(found.items()))


def _simple(node: Any, arrays: dict[str, Schema]) -> Any:
    """Without what pydantic adds for itself: titles, defaults of null, names for lists."""
    if isinstance(node, list):
        return [_simple(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("$ref") in arrays:
        return _simple(arrays[node["$ref"]], arrays)
    plain = {key: _simple(value, arrays) for key, value in node.items() if key != "properties"}
    if "properties" in node:
        # Here keys are names, also where one is called `title`.
        plain["properties"] = {
            name: _simple(field, arrays) for name, field in node["properties"].items()
        }
    if isinstance(plain.get("title"), str):
        del plain["title"]
    if "default" in plain and plain["default"] is None:
        del plain["default"]
    return _flat(plain)


def _flat(node: Schema) -> Schema:
    """A type or null in one schema; a union in a union in one union."""
    branches: list[Schema] = node.get("anyOf", [])
    if len(branches) == 2 and branches[1] == {"type": "null"}:
        only = branches[0]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        if isinstance(only.get("type"), str) and "enum" not in only:
            return {**only, "type": [only["type"], "null"], **rest}
        if not only:  # read by hand: LIMITS say what
            return rest
    return node


def _object(name: str, schema: Schema) -> Schema:
    schema.pop("description", None)  # the docstring is for readers of the code
    for field, node in schema.get("properties", {}).items():
        owned = f"{name}.{field}"
        if owned in LIMITS:
            _limit(node, LIMITS[owned])
        text = description(name, field)
        if text is not None:
            node["description"] = text
            if "eprecated by OpenAI" in text:
                node["deprecated"] = True
    return schema


def _limit(node: Schema, limits: Schema) -> None:
    if "type" in limits or "$ref" in node:
        node.update(limits)
    for branch in (node, *node.get("anyOf", ())):
        types = branch.get("type", ())
        for kind in [types] if isinstance(types, str) else types:
            branch.update(
                {key: value for key, value in limits.items() if key in _KEYWORDS.get(kind, ())}
            )
