"""The table of rules: one row each for what is refused, where, and why."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import text_format

from diglot.service import errors
from diglot.service.capability import EVERYTHING
from diglot.service.validation import check
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

GOOD = 'model: "m" messages { role: ROLE_USER content: "hi" }'


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
    (GOOD + " extra_json: '[1]'", errors.InvalidValue, "extra_json"),
    (GOOD + " extra_json: '{\"temperature\": 1}'", errors.InvalidValue, "extra_json"),
    (GOOD + " extra_json: '{\"stream\": true}'", errors.InvalidValue, "extra_json"),
]


@pytest.mark.parametrize(("text", "kind", "field"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_refused(text: str, kind: type[errors.ChatError], field: str) -> None:
    """The error has the rule's kind, names the field by its path, and can be read."""
    with pytest.raises(errors.ChatError) as caught:
        check(request(text), EVERYTHING)
    assert type(caught.value) is kind
    assert caught.value.field == field
    assert caught.value.message.endswith(".")


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
    'model: "m" messages { role: ROLE_FUNCTION name: "f" }',
]


@pytest.mark.parametrize("text", PASSED)
def test_what_passes(text: str) -> None:
    check(request(text), EVERYTHING)


def test_infinity_is_no_number_in_range() -> None:
    wrong: Any = request(GOOD)
    wrong.top_p = math.inf
    with pytest.raises(errors.InvalidValue):
        check(wrong, EVERYTHING)
