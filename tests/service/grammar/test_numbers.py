"""Numbers between bounds, held against Python's arithmetic."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from grammars import Language
from hypothesis import given, settings
from hypothesis import strategies as st

from diglot.service.embedded.grammar.fault import CannotCompile
from diglot.service.json_schema import fits

PLACES = st.integers(0, 3)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[Decimal, Decimal]:
    low = draw(st.integers(-30_000, 30_000))
    width = draw(st.sampled_from([0, 1, 5, 37, 200, 2000, 99_999]))
    places = draw(PLACES)
    return Decimal(low).scaleb(-places), Decimal(low + width).scaleb(-places)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(ranges(), st.booleans(), st.booleans(), st.lists(st.integers(-60, 60), max_size=8))
def test_a_number_is_allowed_if_it_lies_between_the_bounds(
    bounds: tuple[Decimal, Decimal], above: bool, below: bool, steps: list[int]
) -> None:
    low, high = bounds
    schema = {
        "type": "number",
        ("exclusiveMinimum" if above else "minimum"): float(low),
        ("exclusiveMaximum" if below else "maximum"): float(high),
    }
    try:
        language = Language.of(schema)
    except CannotCompile:
        assert low == high
        assert above or below
        return
    for text in language.some(8):
        assert fits(text, json.dumps(schema)), text
    for step in steps:
        for edge in (low, high):
            value = (edge + Decimal(step) / 100).quantize(Decimal("0.01"))
            inside = (low < value if above else low <= value) and (
                value < high if below else value <= high
            )
            # Where the range is wide, numbers have up to two places; else as many as they need.
            if not inside or high - low >= 1:
                assert (spelt(value) in language) == inside


def spelt(value: Decimal) -> str:
    return f"{abs(value):f}" if value == 0 else f"{value:f}"


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(st.none(), st.integers(-(10**18), 10**18)),
    st.one_of(st.none(), st.integers(0, 10**12)),
    st.integers(-1, 1),
)
def test_an_integer_is_allowed_up_to_its_bounds(
    low: int | None, width: int | None, step: int
) -> None:
    high = None if low is None or width is None else low + width
    bounds = {"minimum": low, "maximum": high}
    schema = {"type": "integer"} | {name: at for name, at in bounds.items() if at is not None}
    language = Language.of(schema)
    for text in language.some(5):
        assert fits(text, json.dumps(schema))
    if low is not None:
        assert (str(low + step) in language) == (step >= 0 and (high is None or low + step <= high))
    if high is not None:
        assert (str(high + step) in language) == (step <= 0 and high + step >= (low or 0))


TABLE: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"type": "integer"}, ["0", "-7", "123456789012345"], ["-0", "01", "1.0", "1234567890123456"]),
    ({"type": "number"}, ["0", "-0.5", "12.25"], ["01", ".5", "5.", "1e3", "+1"]),
    ({"type": "integer", "minimum": 2**63}, [str(2**63)], [str(2**63 - 1)]),
    ({"type": "integer", "maximum": -(10**30)}, [str(-(10**30))], [str(1 - 10**30)]),
    ({"type": "integer", "minimum": -1e308, "maximum": 1e308}, ["0", "-5"], ["1.0"]),
    ({"type": "number", "maximum": 1e308}, ["0.25", "-5"], []),
    ({"type": "number", "minimum": 1e-300}, ["0.01", "1"], ["0", "0.00"]),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 1e-9}, ["0.000000001"], ["0"]),
    ({"type": "number", "minimum": 0.21, "maximum": 0.215}, ["0.21"], ["0.22"]),
    ({"type": "integer", "minimum": 0.5, "maximum": 2.5}, ["1", "2"], ["0", "3"]),
    ({"type": "integer", "minimum": 3, "exclusiveMinimum": 3}, ["4"], ["3"]),
    ({"type": "integer", "minimum": 3, "exclusiveMinimum": 1}, ["3"], ["2"]),
    ({"type": "number", "multipleOf": 0.01}, ["0.07", "5", "-1.5"], ["0.001"]),
    ({"type": "integer", "multipleOf": 0.5}, ["1", "-3"], ["0.5"]),
    ({"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 1}, ["0", "0.75", "1"], ["2"]),
    ({"type": "number", "multipleOf": 7}, ["0", "-49", "999999"], ["1", "50"]),
    ({"type": "integer", "multipleOf": 25, "minimum": 0}, ["0", "25", "1000"], ["-25", "10"]),
    ({"type": "integer", "multipleOf": 500, "minimum": 1}, ["500", "1500"], ["0", f"{10**15}"]),
    ({"type": "integer", "multipleOf": 5, "exclusiveMinimum": 5, "maximum": 10}, ["10"], ["5"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "can", "cannot"), TABLE, ids=lambda value: str(value)[:60])
def test_numbers_as_they_are_asked_for(
    schema: dict[str, Any], can: list[str], cannot: list[str]
) -> None:
    language = Language.of(schema)
    for text in [*can, *language.some(50)]:
        assert text in language
        assert fits(text, json.dumps(schema)), text
    for text in cannot:
        assert text not in language


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "integer", "minimum": 0.1, "maximum": 0.9}, "no number lies between"),
        ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6}, "no multiple lies"),
        ({"type": "number", "minimum": 1e60}, "more than 40 digits"),
        ({"type": "integer", "multipleOf": 41}, "multiples of 41"),
        ({"type": "number", "multipleOf": 1e-300}, "multiples of"),
        ({"type": "number", "multipleOf": 0.3, "minimum": 0}, "multiples of 0.3"),
    ],
)
def test_numbers_that_cannot_be_enforced(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(CannotCompile, match=why):
        Language.of(schema)
