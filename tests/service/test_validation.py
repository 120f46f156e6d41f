"""The table of rules: one row each for what is refused, where, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor

from diglot.service import errors
from diglot.service.capability import EVERYTHING, Capability
from diglot.service.extra import extended
from diglot.service.validation import check
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

GOOD = 'model: "m" messages { role: ROLE_USER content: "hi" }'
NO_OBJECTS = ("[1]", "{", "", '{"a": NaN}', '{"a": [-1e999]}', "[" * 300, '{"a": "\\\\ud800"}')
PART = "messages[1].parts[0]"
VIDEO = '\'{"type": "video_url", "video_url": {"url": "u"}}\''


def request(text: str) -> CreateChatCompletionRequest:
    return text_format.Parse(text, CreateChatCompletionRequest())


REFUSED: list[tuple[str, type[errors.ChatError], str]] = [
    ('messages { role: ROLE_USER content: "x" }', errors.MissingValue, "model"),
    ('model: "m"', errors.MissingValue, "messages"),
    ('model: "m" messages { content: "x" }', errors.MissingValue, "messages[0].role"),
    ('model: "m" messages { role: ROLE_USER }', errors.MissingValue, "messages[0].content"),
    ('model: "m" messages { role: ROLE_ASSISTANT }', errors.MissingValue, "messages[0].content"),
    (
        'model: "m" messages { role: ROLE_USER content: "x" parts { text { text: "y" } } }',
        errors.InvalidValue,
        "messages[0].parts",
    ),
    (
        'model: "m" messages { role: ROLE_USER parts { } }',
        errors.MissingValue,
        "messages[0].parts[0]",
    ),
    (
        'model: "m" messages { role: ROLE_SYSTEM parts { image_url { url: "x" } } }',
        errors.InvalidValue,
        "messages[0].parts[0]",
    ),
    (
        'model: "m" messages { role: ROLE_TOOL content: "x" }',
        errors.MissingValue,
        "messages[0].tool_call_id",
    ),
    (
        'model: "m" messages { role: ROLE_FUNCTION content: "x" }',
        errors.MissingValue,
        "messages[0].name",
    ),
    (
        'model: "m" messages { role: ROLE_ASSISTANT tool_calls { id: "a" } }',
        errors.MissingValue,
        "messages[0].tool_calls[0]",
    ),
    (GOOD + " temperature: 2.1", errors.InvalidValue, "temperature"),
    (GOOD + " temperature: -0.1", errors.InvalidValue, "temperature"),
    (GOOD + " temperature: nan", errors.InvalidValue, "temperature"),
    (GOOD + " top_p: 1.5", errors.InvalidValue, "top_p"),
    (GOOD + " frequency_penalty: 3", errors.InvalidValue, "frequency_penalty"),
    (GOOD + " presence_penalty: -3", errors.InvalidValue, "presence_penalty"),
    (GOOD + " n: 0", errors.InvalidValue, "n"),
    (GOOD + " n: 129", errors.InvalidValue, "n"),
    (GOOD + " max_tokens: 0", errors.InvalidValue, "max_tokens"),
    (GOOD + " max_completion_tokens: -1", errors.InvalidValue, "max_completion_tokens"),
    (GOOD + " max_tokens: 1 max_completion_tokens: 1", errors.InvalidValue, "max_tokens"),
    (GOOD + ' stop: ["a","b","c","d","e"]', errors.InvalidValue, "stop"),
    (GOOD + ' stop: ["a",""]', errors.InvalidValue, "stop[1]"),
    (GOOD + " logprobs: true top_logprobs: 21", errors.InvalidValue, "top_logprobs"),
    (GOOD + " top_logprobs: 2", errors.InvalidValue, "top_logprobs"),
    (GOOD + " logit_bias { key: 5 value: 101 }", errors.InvalidValue, "logit_bias"),
    (GOOD + " logit_bias { key: -5 value: 1 }", errors.InvalidValue, "logit_bias"),
    (GOOD + " tools { }", errors.MissingValue, "tools[0]"),
    (GOOD + ' tools { function { name: "a b" } }', errors.InvalidValue, "tools[0].function.name"),
    (
        GOOD + " tools { function { name: 'f' parameters_json: '{' } }",
        errors.InvalidSchema,
        "tools[0].function.parameters_json",
    ),
    (
        GOOD + " tools { function { name: 'f' parameters_json: '[]' } }",
        errors.InvalidSchema,
        "tools[0].function.parameters_json",
    ),
    (GOOD + " tool_choice { }", errors.MissingValue, "tool_choice"),
    (GOOD + " tool_choice { mode: TOOL_CHOICE_MODE_REQUIRED }", errors.InvalidValue, "tool_choice"),
    (
        GOOD + " tools { function { name: 'f' } } tool_choice { function_name: 'g' }",
        errors.InvalidValue,
        "tool_choice",
    ),
    (
        GOOD + " tools { function { name: 'f' } } tool_choice { function_name: '' }",
        errors.InvalidValue,
        "tool_choice",
    ),
    (
        GOOD + " functions { name: 'f' } function_call { name: 'g' }",
        errors.InvalidValue,
        "function_call",
    ),
    (
        GOOD + " functions { name: 'f' } tools { custom { name: 'c' } }",
        errors.InvalidValue,
        "functions",
    ),
    (
        GOOD + " tools { custom { name: 'f' } } tool_choice { function_name: 'f' }",
        errors.InvalidValue,
        "tool_choice",
    ),
    (
        GOOD + " tools { function { name: 'f' } } tool_choice { allowed_tools {"
        ' mode: TOOL_CHOICE_MODE_AUTO tools_json: \'{"type":"function","name":"g"}\' } }',
        errors.InvalidValue,
        "tool_choice.allowed_tools.tools_json[0]",
    ),
    (
        GOOD + " tools { custom { name: 'c' grammar { syntax: 'ebnf' } } }",
        errors.InvalidValue,
        "tools[0].custom.grammar.syntax",
    ),
    (
        GOOD + " tools { function { name: 'f' parameters_json: '{\"type\": \"any\"}' } }",
        errors.InvalidSchema,
        "tools[0].function.parameters_json",
    ),
    (GOOD + " response_format { }", errors.MissingValue, "response_format"),
    (
        GOOD + " response_format { json_schema { name: 'x' schema_json: 'nope' } }",
        errors.InvalidSchema,
        "response_format.json_schema.schema_json",
    ),
    (
        GOOD + " response_format { json_schema { name: '' } }",
        errors.InvalidValue,
        "response_format.json_schema.name",
    ),
    (GOOD + ' modalities: ["video"]', errors.InvalidValue, "modalities[0]"),
    (GOOD + ' modalities: ["audio"]', errors.MissingValue, "audio"),
    (GOOD + f" metadata {{ key: '{'k' * 65}' value: 'v' }}", errors.InvalidValue, "metadata"),
    (GOOD + f" metadata {{ key: 'k' value: '{'v' * 513}' }}", errors.InvalidValue, "metadata"),
    (
        GOOD + "".join(f" metadata {{ key: 'k{i}' value: 'v' }}" for i in range(17)),
        errors.InvalidValue,
        "metadata",
    ),
    *(
        (f"{GOOD} messages {{ role: ROLE_USER parts {{ {part} }} }}", errors.InvalidValue, field)
        for part, field in [
            *(
                (f"other_json: '{text}'", f"{PART}.other_json")
                for text in (
                    *("", "[]", "{}", '{"type": ""}', '{"type": ["x"]}', '{"type": "x", "x": NaN}'),
                    '{"type": "text", "text": "has a field"}',
                )
            ),
            (f"other_json: {VIDEO} extra_json: '{{}}'", f"{PART}.extra_json"),
            (
                f"other_json: {VIDEO} prompt_cache_breakpoint {{ mode: 'explicit' }}",
                f"{PART}.prompt_cache_breakpoint",
            ),
        ]
    ),
    (
        f"{GOOD} messages {{ role: ROLE_FUNCTION name: 'f' parts {{ other_json: {VIDEO} }} }}",
        errors.InvalidValue,
        PART,
    ),
    *((f"{GOOD} extra_json: '{no}'", errors.InvalidValue, "extra_json") for no in NO_OBJECTS),
    (GOOD + " extra_json: '{\"temperature\": 1}'", errors.InvalidValue, "extra_json"),
    (GOOD + " extra_json: '{\"stream\": true}'", errors.InvalidValue, "extra_json"),
]

# Parts of requests that can have keys which the contract does not know, each with a key that it
# does know, and the part's path.
EXTENSIBLE = [
    ("messages { role: ROLE_USER content: 'x' % }", "name", "messages[1]"),
    ("messages { role: ROLE_USER parts { text { text: 'x' } % } }", "text", "messages[1].parts[0]"),
    (
        "messages { role: ROLE_USER parts { image_url { url: 'x' % } } }",
        "url",
        "messages[1].parts[0].image_url",
    ),
    (
        "messages { role: ROLE_USER parts { input_audio { data: '' % } } }",
        "format",
        "messages[1].parts[0].input_audio",
    ),
    (
        "messages { role: ROLE_USER parts { file { file_id: '' % } } }",
        "file_data",
        "messages[1].parts[0].file",
    ),
    (
        "messages { role: ROLE_ASSISTANT tool_calls { function { name: 'f' } % } }",
        "index",
        "messages[1].tool_calls[0]",
    ),
    (
        "messages { role: ROLE_ASSISTANT tool_calls { function { name: 'f' % } } }",
        "arguments",
        "messages[1].tool_calls[0].function",
    ),
    (
        "messages { role: ROLE_ASSISTANT function_call { name: 'f' % } }",
        "name",
        "messages[1].function_call",
    ),
    (
        "messages { role: ROLE_ASSISTANT content: '' annotations { % } }",
        "url_citation",
        "messages[1].annotations[0]",
    ),
    (
        "messages { role: ROLE_ASSISTANT content: '' annotations { url_citation { % } } }",
        "title",
        "messages[1].annotations[0].url_citation",
    ),
    ("tools { function { name: 'f' } % }", "type", "tools[0]"),
    ("tools { function { name: 'f' % } }", "parameters", "tools[0].function"),
    ("tools { custom { name: 'f' % } }", "format", "tools[0].custom"),
    ("functions { name: 'f' % }", "strict", "functions[0]"),
    ("response_format { json_object {} % }", "json_schema", "response_format"),
    (
        "response_format { json_schema { name: 's' % } }",
        "schema",
        "response_format.json_schema",
    ),
    ("stream_options { % }", "include_usage", "stream_options"),
    ("prediction { parts { text {} % } }", "type", "prediction.parts[0]"),
]


@pytest.mark.parametrize(("text", "known", "path"), EXTENSIBLE, ids=[row[2] for row in EXTENSIBLE])
def test_keys_that_are_not_known_are_an_object_and_not_known(
    text: str, known: str, path: str
) -> None:
    def asked(extra: str) -> CreateChatCompletionRequest:
        return request(GOOD + text.replace("%", f"extra_json: '{extra}'"))

    check(asked('{"unheard_of": {"a": [null]}, "extra_json": 1, "parts": 1}'), EVERYTHING)
    for wrong in (*NO_OBJECTS, f'{{"{known}": 1}}'):
        with pytest.raises(errors.InvalidValue) as caught:
            check(asked(wrong), EVERYTHING)
        assert caught.value.field == f"{path}.extra_json"


def test_every_part_that_can_have_such_keys_is_looked_at() -> None:
    """Wherever the contract has an extra_json, it is among the rows above."""
    found = {
        type(part).DESCRIPTOR.full_name
        for text, _, _ in EXTENSIBLE
        for _, part in extended(request(GOOD + text.replace("%", "extra_json: '{}'")))
    }
    assert found == set(_with_extra_json(CreateChatCompletionRequest.DESCRIPTOR, set()))


def _with_extra_json(kind: Descriptor, seen: set[str]) -> Iterator[str]:
    for field in kind.fields:
        inner = field.message_type
        if inner is not None and inner.full_name not in seen:
            seen.add(inner.full_name)
            if "extra_json" in inner.fields_by_name:
                yield inner.full_name
            yield from _with_extra_json(inner, seen)


@pytest.mark.parametrize(("text", "kind", "field"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_refused(text: str, kind: type[errors.ChatError], field: str) -> None:
    """The error has the rule's kind, names the field by its path, and can be read."""
    with pytest.raises(errors.ChatError) as caught:
        check(request(text), EVERYTHING)
    assert type(caught.value) is kind
    assert caught.value.field == field
    assert caught.value.message.endswith(".")


MEDIA = ["image_url { url: 'x' }", "input_audio { data: '' }", "file { file_id: '' }"]
PASSED = [
    GOOD,
    GOOD + " temperature: 0 top_p: 0 n: 1 max_tokens: 1 frequency_penalty: -2 presence_penalty: 2",
    GOOD + " n: 128 max_completion_tokens: 2147483647 logprobs: true top_logprobs: 0",
    GOOD + " tools { function { name: 'f' } } tool_choice { function_name: 'f' }",
    GOOD + " tools { custom { name: 'c' } } tool_choice { custom_name: 'c' }",
    GOOD + " tool_choice { mode: TOOL_CHOICE_MODE_AUTO }",
    GOOD + " extra_json: '{\"top_k\": 3}' reasoning_effort: 'newly invented'",
    'model: "m" messages { role: ROLE_USER content: "" }',
    'model: "m" messages { role: ROLE_ASSISTANT tool_calls { id: "a" function { name: "f" } } }',
    'model: "m" messages { role: ROLE_ASSISTANT reasoning_content: "hm" }',
    "model: 'm' messages { role: ROLE_ASSISTANT extra_json: '{\"reasoning_details\": []}' }",
    'model: "m" messages { role: ROLE_FUNCTION name: "f" }',
    *(
        f'model: "m" messages {{ role: ROLE_{role} {more} parts {{ other_json: {VIDEO} }} }}'
        for role, more in [
            *((each, "") for each in ("DEVELOPER", "SYSTEM", "USER", "ASSISTANT")),
            ("TOOL", "tool_call_id: 'c'"),
        ]
    ),
    *(
        f'model: "m" messages {{ role: ROLE_TOOL tool_call_id: "c" parts {{ {part} }} }}'
        for part in MEDIA
    ),
]


@pytest.mark.parametrize("text", PASSED)
def test_what_passes(text: str) -> None:
    check(request(text), EVERYTHING)


def test_infinity_is_no_number_in_range() -> None:
    wrong: Any = request(GOOD)
    wrong.top_p = math.inf
    with pytest.raises(errors.InvalidValue):
        check(wrong, EVERYTHING)


@pytest.mark.parametrize("part", MEDIA)
def test_a_tools_result_that_is_no_text_is_refused_where_it_is_not_taken(part: str) -> None:
    """And the way out is told."""
    result = f"messages {{ role: ROLE_TOOL tool_call_id: 'c' parts {{ {part} }} }}"
    kind = part.partition(" ")[0]
    with pytest.raises(errors.UnsupportedValue, match=f"'{kind}'.*in a user message") as caught:
        check(request(f"{GOOD} {result}"), EVERYTHING - {Capability.TOOL_MEDIA})
    assert caught.value.field == PART
    said = request(f"{GOOD} messages {{ role: ROLE_USER parts {{ {part} }} }}")
    check(said, EVERYTHING - {Capability.TOOL_MEDIA})


def test_a_part_of_another_type_is_refused_by_its_type_where_there_is_none() -> None:
    asked = request(f"{GOOD} messages {{ role: ROLE_USER parts {{ other_json: {VIDEO} }} }}")
    with pytest.raises(errors.UnsupportedValue, match="parts of type 'video_url'") as caught:
        check(asked, EVERYTHING - {Capability.OTHER_PARTS})
    assert caught.value.field == PART
