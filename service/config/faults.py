"""What is wrong with a configuration, in words that name the place and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_core import ErrorDetails

from .checks import quoted
from .models import KINDS, RoutedModel
from .section import Section
from .settings import Settings

Place = tuple[int | str, ...]

_TYPES = {
    "string_type": "a string, in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}
_SHAPES = {
    "model_type": "a table: [{key}]",
    "model_attributes_type": "a table: [[{key}]]",
    "tuple_type": "an array of tables: [[{key}]]",
    "dict_type": "a table: [{key}]",
}
# All other arrays are of strings.
_OF_TABLES = ("models", "deployments")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    origin: str
    """The file, flag or variable that it came from."""
    key: str
    """Its place in the file, like models[1].base_url; empty for the file as a whole."""
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.origin, self.key, self.text) if part)


class ConfigError(Exception):
    """The configuration cannot be used. `str()` has one line per fault."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def faults_of(
    errors: Iterable[ErrorDetails], file: str, origins: Mapping[Place, str]
) -> list[Fault]:
    """What pydantic found. `origins` tells what did not come from the file."""
    found = []
    for error in errors:
        if error["type"] == "default_factory_not_called":
            continue  # follows from a fault that is listed already
        place, section = _locate(error["loc"])
        text = _text(error, place, section)
        if error["type"] == "fault" and error["ctx"]["key"]:
            key = error["ctx"]["key"]
            spelt = spell(place) + key if key.startswith("[") else spell((*place, key))
        else:
            if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
                place = (*place, "kind")
            spelt = spell(place)
        origin = next(
            (origins[place[:n]] for n in range(len(place), 0, -1) if place[:n] in origins), None
        )
        found.append(Fault(origin, "", text) if origin else Fault(file, spelt, text))
    return found


def spell(place: Place) -> str:
    """models, 1, base_url -> models[1].base_url"""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _locate(loc: Place) -> tuple[Place, type[Section]]:
    """The place in the file, and the table that it is in. Pydantic adds to a model's place which
    form its table has, and of what kind it is."""
    place: list[int | str] = []
    section: type[Section] = Settings
    for depth, part in enumerate(loc):
        if depth > 1 and isinstance(loc[depth - 1], int) and part in ("single", "several"):
            section = RoutedModel
            continue
        if part in KINDS and (isinstance(loc[depth - 1], int) or loc[depth - 1] == "single"):
            section = KINDS[str(part)]
            continue
        place.append(part)
        if depth + 1 < len(loc) and isinstance(part, str) and part in section.model_fields:
            inner = section.model_fields[part].annotation
            if isinstance(inner, type) and issubclass(inner, Section):
                section = inner
    return tuple(place), section


def _text(error: ErrorDetails, place: Place, section: type[Section]) -> str:
    kind, found, ctx = error["type"], quoted(error["input"]), error.get("ctx", {})
    key = str(place[-1]) if place else ""
    match kind:
        case "fault":
            return str(ctx["text"])
        case "extra_forbidden":
            # The value stays out: under a misspelt key it could be a secret.
            if key in section.refused:
                return section.refused[key]
            return f"unknown key{_instead(key, section.model_fields, 'the keys here are')}"
        case "missing":
            return f"missing; add it: {_purpose(section, key)}"
        case "union_tag_not_found":
            return f"missing; it must be one of {_listed(KINDS)}"
        case "union_tag_invalid":
            return _not_one_of(ctx["tag"], KINDS)
        case "literal_error":
            return _not_one_of(error["input"], get_args(section.model_fields[key].annotation))
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return f"found {found}; it must be {_COMPARISONS[kind]} {next(iter(ctx.values())):g}"
        case "too_short":
            return "found none; at least one is needed, or leave it out for the default"
        case "string_too_short":
            return "is empty; fill it in or leave it out"
        case "string_pattern_mismatch":
            return f"found {found}; it must be 1 to 256 characters without spaces"
    if kind == "tuple_type" and key not in _OF_TABLES:
        return f"found {found}; it must be an array: {key} = [{found}]"
    if kind in _TYPES:
        return f"found {found}; it must be {_TYPES[kind]}"
    if kind in _SHAPES:
        table = spell(tuple(part for part in place if isinstance(part, str)))
        return f"found {found}; it must be {_SHAPES[kind].format(key=table)}"
    return f"found {found}: {error['msg']}"


_COMPARISONS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


def _not_one_of(found: Any, options: Iterable[str]) -> str:
    return f"found {quoted(found)}{_instead(str(found), options, 'it must be one of')}"


def _instead(found: str, options: Iterable[str], otherwise: str) -> str:
    options = list(options)
    close = difflib.get_close_matches(found.lower(), options, n=1)
    return f"; did you mean {close[0]}?" if close else f"; {otherwise} {_listed(options)}"


def _listed(options: Iterable[str]) -> str:
    *most, last = options
    return f"{', '.join(most)}, {last}" if most else last


def _purpose(section: type[Section], key: str) -> str:
    text = " ".join((section.model_fields[key].description or "").split()).rstrip(".")
    return text[:1].lower() + text[1:]
