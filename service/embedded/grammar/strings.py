"""Strings, as JSON spells them."""

from __future__ import annotations

import json
from typing import Any

from .fault import CannotCompile, NothingFits
from .gbnf import Chars, Choice, Grammar, Node, Repeat, Sequence, Text, repeat, sequence
from .limits import Limits
from .pattern import ANY_CHARACTER, PatternError, character, compile_pattern

_HEX = "[0-9a-f]"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_DAYS = ("(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])", "(0[469]|11)-(0[1-9]|[12][0-9]|30)")
_DATE = f"[0-9]{{4}}-({'|'.join(_DAYS)}|02-(0[1-9]|1[0-9]|2[0-8]))"
_HOUR = "([01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = f"{_HOUR}:[0-5][0-9](\\.[0-9]{{1,6}})?(Z|[+-]{_HOUR})"
_LABEL = "[a-z0-9]{1,20}(-[a-z0-9]{1,20})?"
_HOST = f"{_LABEL}(\\.{_LABEL}){{1,3}}"
# Each a part of what the format allows. Formats that are not here say what a string means,
# and constrain nothing.
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": "P([0-9]{1,4}D(T[0-9]{1,2}H)?|T[0-9]{1,4}[HMS]|[0-9]{1,3}[WMY])",
    "email": f"[a-z0-9]{{1,20}}([._+-][a-z0-9]{{1,20}}){{0,2}}@{_HOST}",
    "hostname": _HOST,
    "ipv4": f"{_OCTET}(\\.{_OCTET}){{3}}",
    "ipv6": f"({_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    "uri": f"https?://{_HOST}(/[A-Za-z0-9._~-]{{0,40}}){{0,4}}",
}


def string(
    grammar: Grammar, schema: dict[str, Any], limits: Limits, path: str, *, exact: bool
) -> Node:
    """A string with its quotes. Raises CannotCompile."""
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    most = None if most is None else int(most)
    if most is not None and most < least:
        raise NothingFits(f"{path}/maxLength", "less than minLength")
    inside = None
    if "pattern" in schema:
        inside = _patterned(schema["pattern"], limits, least, most, path, exact=exact)
    elif form := _FORMATS.get(schema.get("format", "")):
        # Where a format does not go together with lengths, the lengths count.
        found = compile_pattern(f"^{form}$", limits.most_characters(least, None))
        inside = _fitted(found, least, most)
    if inside is None:
        one = grammar.share(character(ANY_CHARACTER))
        inside = repeat(one, least, limits.most_characters(least, most))
    return quoted(grammar.share(inside))


def _patterned(
    pattern: str, limits: Limits, least: int, most: int | None, path: str, *, exact: bool
) -> Node | None:
    try:
        inside = compile_pattern(pattern, limits.most_characters(least, None))
    except PatternError as error:
        if exact:
            raise CannotCompile(f"{path}/pattern", str(error)) from None
        return None
    fitted = _fitted(inside, least, most)
    if fitted is None and exact:
        raise CannotCompile(
            f"{path}/pattern", "a pattern beside minLength or maxLength that it may exceed"
        )
    return fitted or inside


def _fitted(node: Node, least: int, most: int | None) -> Node | None:
    """Those of its strings that are neither shorter nor longer; None if it has no one place
    to make them so."""
    shortest, longest = lengths(node)
    if shortest >= least and (most is None or (longest is not None and longest <= most)):
        return node
    parts: list[Node] = list(node.parts) if isinstance(node, Sequence) else [node]
    open_places = [place for place, part in enumerate(parts) if len({*lengths(part)}) > 1]
    if len(open_places) != 1:
        return None
    place = open_places[0]
    part = parts[place]
    if not isinstance(part, Repeat) or lengths(part.node) != (1, 1):
        return None
    fixed = shortest - part.least
    fewest = max(part.least, least - fixed)
    end = part.most
    if most is not None:
        end = most - fixed if end is None else min(end, most - fixed)
    if end is not None and end < fewest:
        return None
    parts[place] = repeat(part.node, fewest, end)
    return sequence(*parts)


def quoted(inside: Node) -> Node:
    return sequence(Text('"'), inside, Text('"'))


def literal(value: Any) -> Text:
    """Exactly this value, of any type."""
    return Text(json.dumps(value, ensure_ascii=False))


def key(name: str) -> Node:
    return Text(literal(name).text + ": ")


def lengths(node: Node) -> tuple[int, int | None]:
    """The fewest and the most characters of a string of this form."""
    match node:
        case Chars():
            return 1, 1
        case Text(text):
            # An escape is one character.
            return (1, 1) if text.startswith("\\") else (len(text), len(text))
        case Sequence(parts):
            low, high = zip(*map(lengths, parts), strict=True)
            return sum(low), None if None in high else sum(high)
        case Choice(options):
            low, high = zip(*map(lengths, options), strict=True)
            return min(low), None if None in high else max(high)
        case Repeat(inner, least, most):
            shortest, longest = lengths(inner)
            if most is None or longest is None:
                return shortest * least, None
            return shortest * least, longest * most
    raise TypeError(node)
