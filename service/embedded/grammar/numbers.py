"""Numbers between bounds, digit by digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from .fault import CannotCompile, NothingFits
from .gbnf import (
    EMPTY,
    NOTHING,
    Chars,
    Grammar,
    Node,
    Rule,
    Text,
    choice,
    optional,
    repeat,
    sequence,
)

# As many digits as every reader of JSON keeps exactly.
_DIGITS = 15
# Integers can be asked for that are longer, but not without end.
_LONGEST = 40
_FARTHEST = Decimal(10) ** _LONGEST
_EXACT = Context(prec=4 * _LONGEST)
# Steps whose remainders are told apart, digit by digit.
_LARGEST_STEP = 40

_ANY_DIGIT = Chars(((ord("0"), ord("9")),))
_FIRST_DIGIT = Chars(((ord("1"), ord("9")),))


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where to where; None is no end. `above` and `below`: the bound itself is outside."""

    low: Decimal | None = None
    high: Decimal | None = None
    above: bool = False
    below: bool = False

    @classmethod
    def of(cls, schema: dict[str, Any]) -> Bounds:
        low, above = _bound(schema, "minimum", "exclusiveMinimum", max)
        high, below = _bound(schema, "maximum", "exclusiveMaximum", min)
        # No number is written that is so long as to come near these.
        if low is not None and low <= -_FARTHEST:
            low, above = None, False
        if high is not None and high >= _FARTHEST:
            high, below = None, False
        return cls(low, high, above, below)

    def scaled(self, places: int) -> tuple[int | None, int | None]:
        """In units of the last of so many decimal places, both ends included."""
        return (
            None if self.low is None else _rounded(self.low, places, ROUND_CEILING, self.above),
            None if self.high is None else _rounded(self.high, places, ROUND_FLOOR, -self.below),
        )

    def hold(self, value: Decimal) -> bool:
        over = self.low is None or value > self.low or (value == self.low and not self.above)
        under = self.high is None or value < self.high or (value == self.high and not self.below)
        return over and under


def _bound(
    schema: dict[str, Any], name: str, exclusive: str, tighter: Callable[..., Decimal]
) -> tuple[Decimal | None, bool]:
    value, outside = _decimal(schema.get(name)), schema.get(exclusive)
    if isinstance(outside, bool):  # as draft 4 had it
        return value, outside and value is not None
    limit = _decimal(outside)
    if limit is None or (value is not None and tighter(limit, value) != limit):
        return value, False
    return limit, True


def _decimal(value: float | None) -> Decimal | None:
    if value is None:
        return None
    # What a short decimal was meant to be; of large ones, what they are.
    exact = isinstance(value, int) or abs(value) >= 2**53
    return Decimal(value) if exact else Decimal(str(value))


def _rounded(value: Decimal, places: int, rounding: str, step: int) -> int:
    scaled = value.scaleb(places, _EXACT)
    whole = int(scaled.to_integral_value(rounding))
    return whole + step if whole == scaled else whole


def number(
    grammar: Grammar, schema: dict[str, Any], path: str, *, whole: bool, exact: bool
) -> Node:
    """A number or, with `whole`, an integer. Raises CannotCompile."""
    bounds = Bounds.of(schema)
    if (bounds.low or 0) >= _FARTHEST or (bounds.high or 0) <= -_FARTHEST:
        raise CannotCompile(path, f"numbers of more than {_LONGEST} digits")
    if (step := _decimal(schema.get("multipleOf"))) is not None:
        stepped = _stepped(grammar, step, bounds, whole=whole)
        if stepped == NOTHING:
            raise NothingFits(f"{path}/multipleOf", "no multiple lies between the bounds")
        if stepped is not None:
            return grammar.share(stepped)
        if exact:
            raise CannotCompile(f"{path}/multipleOf", f"multiples of {step} in this range")
    if bounds == Bounds():
        return grammar.share(any_integer() if whole else any_number())
    found = choice(decimals(bounds, places) for places in ((0,) if whole else (0, 1, 2)))
    if found == NOTHING and not whole:
        found = _narrow(bounds)
    if found == NOTHING:
        raise NothingFits(path, "no number lies between the bounds")
    return grammar.share(found)


def _narrow(bounds: Bounds) -> Node:
    """Between bounds that are close to each other: with as many places as it takes."""
    for places in range(3, _LONGEST):
        if (found := decimals(bounds, places)) != NOTHING:
            return choice([found, decimals(bounds, places + 1)])
    return NOTHING


def _stepped(grammar: Grammar, step: Decimal, bounds: Bounds, *, whole: bool) -> Node | None:
    """Multiples of the step; None if there is no grammar of a reasonable size for them."""
    if not 1 / _FARTHEST < step < _FARTHEST:
        return None
    if whole and _EXACT.remainder(1, step) == 0:
        return decimals(bounds, 0)
    places = -step.adjusted()
    if step == Decimal(1).scaleb(-places) and places >= 0:
        return choice(decimals(bounds, count) for count in range(places + 1))
    if bounds.low is not None and bounds.high is not None:
        return _counted(step, bounds, whole=whole)
    if step != int(step) or bounds.high is not None or (bounds.low or 0) > step:
        return None
    low = Decimal(-1) if bounds.low is None else bounds.low
    if bounds.low is not None and low < 0:
        return None
    options: list[Node] = [Text("0")] if bounds.hold(Decimal(0)) else []
    positive = _multiples(grammar, int(step))
    if positive is None or (low == step and bounds.above):
        return None
    options.append(positive if low >= 0 else sequence(optional(Text("-")), positive))
    return choice(options)


def _counted(step: Decimal, bounds: Bounds, *, whole: bool) -> Node | None:
    """Multiples that are few enough to be listed."""
    assert bounds.low is not None
    assert bounds.high is not None
    first = int(_EXACT.divide(bounds.low, step).to_integral_value(ROUND_CEILING))
    last = int(_EXACT.divide(bounds.high, step).to_integral_value(ROUND_FLOOR))
    if last - first > 1000:
        return None
    values = (_EXACT.multiply(step, count).normalize(_EXACT) for count in range(first, last + 1))
    return choice(
        Text(f"{value:f}")
        for value in values
        if bounds.hold(value)
        and (_is_whole(value) or not (whole or len(value.as_tuple().digits) > _DIGITS))
    )


def _is_whole(value: Decimal) -> bool:
    return value == value.to_integral_value()


def any_integer() -> Node:
    positive = sequence(_FIRST_DIGIT, repeat(_ANY_DIGIT, 0, _DIGITS - 1))
    return choice([Text("0"), sequence(optional(Text("-")), positive)])


def any_number() -> Node:
    fraction = sequence(Text("."), repeat(_ANY_DIGIT, 1, _DIGITS))
    return sequence(optional(Text("-")), _natural(), optional(fraction))


def _natural() -> Node:
    return choice([Text("0"), sequence(_FIRST_DIGIT, repeat(_ANY_DIGIT, 0, _DIGITS - 1))])


def decimals(bounds: Bounds, places: int) -> Node:
    """Numbers within the bounds, with exactly so many decimal places; NOTHING if none is."""
    most = 10**_DIGITS - 1
    low, high = bounds.scaled(places)
    if places:
        # Further out, a reader would take one number for another, over the bound perhaps.
        low = -most if low is None else max(low, -most)
        high = most if high is None else min(high, most)
    # Open ends reach as far as the digits do, or further than a bound of even more digits.
    low = low if low is not None else min(-most, 10 * high if high else 0)
    high = high if high is not None else max(most, 10 * low)
    options: list[Node] = []
    if low < 0:
        magnitudes = _naturals(max(1, -high), -low, places)
        options += [sequence(Text("-"), magnitude) for magnitude in magnitudes]
    if high >= 0:
        options += _naturals(max(0, low), high, places)
    return choice(options)


def _naturals(low: int, high: int, places: int) -> list[Node]:
    """Numbers of `places` decimal places, given in units of the last place."""
    found = []
    shortest = places + 1
    for length in range(max(shortest, len(str(low))), max(shortest, len(str(high))) + 1):
        least = 0 if length == shortest else 10 ** (length - 1)
        first, last = max(low, least), min(high, 10**length - 1)
        if first <= last:
            digits = (str(first).zfill(length), str(last).zfill(length))
            found += [_pointed(row, places) for row in _rows(*digits)]
    return found


_Row = list[tuple[str, str]]


def _rows(first: str, last: str) -> list[_Row]:
    """The digit strings from `first` to `last`, of one length, as rows of ranges of digits."""
    if not first:
        return [[]]
    rest = len(first) - 1
    if first[0] == last[0]:
        return [[(first[0], first[0]), *row] for row in _rows(first[1:], last[1:])]
    rows: list[_Row] = []
    low, high = int(first[0]), int(last[0])
    if first[1:] != "0" * rest:
        rows += [[(first[0], first[0]), *row] for row in _rows(first[1:], "9" * rest)]
        low += 1
    full = last[1:] == "9" * rest
    if low <= (high if full else high - 1):
        rows.append([(str(low), str(high if full else high - 1)), *[("0", "9")] * rest])
    if not full:
        rows += [[(last[0], last[0]), *row] for row in _rows("0" * rest, last[1:])]
    return rows


def _pointed(row: _Row, places: int) -> Node:
    digits: list[Node] = [
        Text(low) if low == high else Chars(((ord(low), ord(high)),)) for low, high in row
    ]
    if places:
        digits.insert(len(digits) - places, Text("."))
    return sequence(*_runs(digits))


def _runs(nodes: list[Node]) -> list[Node]:
    """Equal neighbours as one repetition."""
    runs: list[tuple[Node, int]] = []
    for node in nodes:
        if runs and runs[-1][0] == node:
            runs[-1] = (node, runs[-1][1] + 1)
        else:
            runs.append((node, 1))
    return [node if count == 1 else repeat(node, count, count) for node, count in runs]


def _multiples(grammar: Grammar, step: int) -> Node | None:
    """Positive integers that the step divides: a rule for each remainder, and what a digit
    makes of it."""
    core, zeros = step, 0
    while core % 10 == 0:
        core, zeros = core // 10, zeros + 1
    digits = _DIGITS - zeros
    if core > _LARGEST_STEP or digits < len(str(core)):
        return None
    known: dict[tuple[int, int], Rule] = {}

    def after(remainder: int, left: int) -> Rule:
        if (remainder, left) not in known:
            rule = known[remainder, left] = grammar.reserve()
            options: list[Node] = [EMPTY] if remainder == 0 else []
            if left:
                options += _digits(range(10), remainder, left)
            grammar.define(rule, choice(options))
        return known[remainder, left]

    def _digits(digits: range, remainder: int, left: int) -> list[Node]:
        return [
            sequence(Text(str(digit)), after((10 * remainder + digit) % core, left - 1))
            for digit in digits
        ]

    return sequence(choice(_digits(range(1, 10), 0, digits)), Text("0" * zeros))
