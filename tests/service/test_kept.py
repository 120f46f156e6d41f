"""What is kept of what callers send, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from diglot.service.embedded.answer_form import AnswerForm, CallForm, Schema, grammar_of
from diglot.service.embedded.grammar.composition import _matcher
from diglot.service.embedded.grammar.limits import Limits
from diglot.service.json_schema import _referring, compiled


def schema(size: int) -> str:
    return json.dumps({"$ref": "#/$defs/a", "$defs": {"a": {"title": "x" * size}}})


def form(size: int) -> AnswerForm:
    return AnswerForm(calls=(CallForm("f", Schema(schema(size), False, "", "")),))


def pattern(size: int) -> str:
    return "x" * size


@pytest.mark.parametrize(
    ("make", "of"),
    [
        (compiled, schema),
        (_referring, schema),
        (_matcher, pattern),
        (lambda each: grammar_of(each, Limits()), form),
    ],
)
def test_what_is_small_is_made_once_and_what_is_large_is_not_kept(
    make: Callable[[object], object], of: Callable[[int], object]
) -> None:
    """Callers choose how large: a cache of so many entries would have no end."""
    assert make(of(10)) is make(of(10))
    assert make(of(200_000)) is not make(of(200_000))
