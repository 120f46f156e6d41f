"""From the bytes of a body to a request, or to the one sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from diglot.v1 import error_pb2

from .errors import Refusal
from .request import CompletionRequest, UpdateRequest

_T = TypeVar("_T")

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
# Objects with a type that has no alternative.
_UNTAGGED = frozenset({"prediction", "user_location"})
# These name the object, but mean its key.
_TAG_ERRORS = ("union_tag_not_found", "union_tag_invalid")

# What the models' own model_validate calls, without what it does around it.
_COMPLETION: Callable[[object], CompletionRequest] = TypeAdapter(
    CompletionRequest
).validator.validate_python
_UPDATE: Callable[[object], UpdateRequest] = TypeAdapter(UpdateRequest).validator.validate_python


def parse(body: bytes | bytearray) -> CompletionRequest:
    """Raises Refusal. Of a key given twice the last one counts, as in most parsers."""
    return _parse(body, _COMPLETION)


def parse_update(body: bytes | bytearray) -> UpdateRequest:
    """Likewise."""
    return _parse(body, _UPDATE)


def _parse(body: bytes | bytearray, validate: Callable[[object], _T]) -> _T:
    try:
        # Refuses by itself: what is not UTF-8, lone surrogates, NaN, and more than 200 levels.
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_JSON,
            f"We could not parse the JSON body of your request: {error}.",
        ) from None
    if not isinstance(document, dict):
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_JSON,
            "The JSON body of your request must be an object.",
        )
    try:
        return validate(document)
    except ValidationError as error:
        # Without the causes: a traceback of them would hold the body.
        faults = error.errors(include_url=False)
    raise _refusal(faults, document)


def _refusal(faults: list[ErrorDetails], document: dict[str, Any]) -> Refusal:
    """Speaks of the first key that is wrong; among a union's members, of what came farthest."""
    key = faults[0]["loc"][0]
    placed = [(_path(fault, document), fault) for fault in faults if fault["loc"][0] == key]
    path, fault = max(placed, key=lambda item: len(item[0]))
    here = [other for at, other in placed if at == path]
    param = _spell(path)
    value = fault["input"]

    if fault["type"] == "union_tag_invalid":
        value = value[path[-1]]
        if isinstance(value, str):
            return _unsupported(param, value, fault["ctx"]["expected_tags"])
        return Refusal.wrong_type(param, "a string", value)
    if fault["type"] in ("missing", "union_tag_not_found"):
        return Refusal(
            error_pb2.ERROR_REASON_MISSING_VALUE,
            f"Missing required parameter: '{param}'.",
            param,
        )
    literals = [other["ctx"]["expected"] for other in here if other["type"] == "literal_error"]
    if literals and isinstance(value, str):
        return _unsupported(param, value, literals[0])
    expected = [_EXPECTED[other["type"]] for other in here if other["type"] in _EXPECTED]
    if literals:
        expected.insert(0, "a string")
    if expected and fault["type"] != "finite_number":
        return Refusal.wrong_type(param, " or ".join(dict.fromkeys(expected)), value)
    return Refusal(
        error_pb2.ERROR_REASON_INVALID_VALUE,
        f"Invalid value for '{param}': {fault['msg'].lower()}.",
        param,
    )


def _unsupported(param: str, value: str, supported: str) -> Refusal:
    return Refusal(
        error_pb2.ERROR_REASON_INVALID_VALUE,
        f"Invalid value: '{value[:64]}'. Supported values are: {supported}.",
        param,
    )


def _path(fault: ErrorDetails, document: dict[str, Any]) -> list[str | int]:
    """The fault's place in the body.

    pydantic mixes the names of union members into it. Walking through the body tells them
    apart: they are the object's own type or role, or cannot be found there at all.
    """
    path: list[str | int] = []
    at: Any = document
    loc = fault["loc"]
    tagged = _UNTAGGED.isdisjoint(loc)
    for depth, step in enumerate(loc):
        if isinstance(at, dict):
            if tagged and step in (at.get("type"), at.get("role")):
                tagged = False  # Once: the next step may be the key of the same name.
                continue
            if step not in at and not (fault["type"] == "missing" and depth == len(loc) - 1):
                continue
            at = at.get(step)
        elif isinstance(at, list) and isinstance(step, int):
            at = at[step]
        else:
            continue
        path.append(step)
        tagged = _UNTAGGED.isdisjoint(loc)
    if fault["type"] in _TAG_ERRORS:
        path.append(fault["ctx"]["discriminator"].strip("'"))
    return path


def _spell(path: list[str | int]) -> str:
    """As OpenAI writes it: messages[0].content[1].text"""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")
