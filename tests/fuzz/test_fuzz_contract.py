"""Whatever message a caller makes: it is refused, or every engine can be asked for it.

hypothesis fills the contract's fields by their types, and text fields often with what they are
for, so that what is made comes far into the rules.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from diglot.service.capability import EVERYTHING
from diglot.service.errors import ChatError
from diglot.service.validation import TABLE, check
from diglot.service.validation.table import applicable
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER

from .faces import TRANSLATIONS

_DEEPEST = 4

WORDS = st.sampled_from(
    ["", "a", "\0", "é", "auto", "low", "gpt", "weather", "{}", "[]", "null", " "]
)
SCHEMAS = st.sampled_from(
    [
        *("true", "{}", '{"type": "object"}', '{"$ref": "#"}', '{"enum": [1, "a"]}', "[", "1"),
        *('{"properties": {"a": {"type": "string", "pattern": "^a+$"}}, "required": ["a"]}', "NaN"),
        '{"type": "function", "function": {"name": "weather"}}',
    ]
)
NUMBERS: dict[int, SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats() | st.sampled_from([0.0, 1.0, 0.5]),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 6) | st.sampled_from([-1, 65, 2**31 - 1]),
}


def texts(name: str) -> SearchStrategy[str]:
    return SCHEMAS | WORDS if name.endswith("_json") else WORDS | st.text(max_size=5)


def values(field: FieldDescriptor, depth: int) -> SearchStrategy[Any]:
    """What one field can hold, once."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        inner = field.message_type
        assert inner is not None
        return st.deferred(lambda: fields(inner, depth + 1))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=5)
        return texts(field.name)
    return NUMBERS[field.cpp_type]


def fields(message: Descriptor, depth: int = 0) -> SearchStrategy[dict[str, Any]]:
    """Some of a message's fields, as its constructor takes them."""
    return st.fixed_dictionaries({}, optional=known(message, depth))


def known(message: Descriptor, depth: int) -> dict[str, SearchStrategy[Any]]:
    return {
        field.name: _of(field, depth)
        for field in message.fields
        if depth < _DEEPEST or field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE
    }


def _of(field: FieldDescriptor, depth: int) -> SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = kind.fields_by_name["key"], kind.fields_by_name["value"]
        return st.dictionaries(values(key, depth), values(value, depth), max_size=2)
    one = values(field, depth)
    return st.lists(one, max_size=3) if field.is_repeated else one


REQUEST = known(CreateChatCompletionRequest.DESCRIPTOR, 0)
GOOD = {
    "model": st.just("m"),
    "messages": st.just([{"role": ROLE_USER, "content": "hi"}]),
    "tools": st.just([{"function": {"name": "weather"}}]),
}


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A good one but for two fields: what is wrong everywhere is refused for the first of it."""
    names = draw(st.lists(st.sampled_from(sorted(REQUEST)), max_size=2, unique=True))
    return draw(st.fixed_dictionaries(GOOD | {name: REQUEST[name] for name in names}))


thoroughly = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@given(requests())
@thoroughly
def test_any_message_is_refused_or_can_be_asked_for(content: dict[str, Any]) -> None:
    request = CreateChatCompletionRequest(**content)
    try:
        check(request, EVERYTHING)
    except ChatError:
        return
    for translate in TRANSLATIONS:
        with suppress(ChatError):
            json.dumps(translate(request))


@given(requests(), REQUEST["messages"] | GOOD["messages"])
@thoroughly
def test_a_rule_that_is_spared_a_request_has_nothing_against_it(
    content: dict[str, Any], messages: list[dict[str, Any]]
) -> None:
    request = CreateChatCompletionRequest(**{**content, "messages": messages})
    asked = applicable(request, frozenset())
    for rule in TABLE:
        if rule not in asked:
            assert not list(rule.check(request)), (rule.field, rule.refuses)
