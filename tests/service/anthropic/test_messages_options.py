"""What a request says beside its messages, and how the Messages API is told it."""

from __future__ import annotations

import json

import pytest
from conformance.ways import to_request
from messages_requests import CALL, HI, F, Json, answer_in, check_that_it_becomes, translated
from messages_server import known

from diglot.service import errors
from diglot.service.anthropic import Options
from diglot.service.anthropic.request_json import to_json

G: Json = {
    "type": "function",
    "function": {
        "name": "g",
        "description": "G.",
        "parameters": {"properties": {"z": {}, "a": {}}, "required": ["z"]},
        "strict": True,
    },
}
F_THERE: Json = {"name": "f", "input_schema": {"type": "object"}}
G_THERE: Json = {
    "name": "g",
    "description": "G.",
    "input_schema": {"type": "object", "properties": {"z": {}, "a": {}}, "required": ["z"]},
    "strict": True,
}
NAMED: Json = {"type": "function", "function": {"name": "f"}}


def allowed(mode: str) -> Json:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}


ASKED_AND_SENT: dict[str, tuple[Json, Json]] = {
    "tools": ({"tools": [F, G]}, {"tools": [F_THERE, G_THERE]}),
    "auto, said": ({"tools": [F], "tool_choice": "auto"}, {"tools": [F_THERE]}),
    "none": (
        {"tools": [F], "tool_choice": "none", "parallel_tool_calls": False},
        {"tools": [F_THERE], "tool_choice": {"type": "none"}},
    ),
    "none, without tools": ({"tool_choice": "none", "parallel_tool_calls": False}, {}),
    "any": (
        {"tools": [F], "tool_choice": "required"},
        {"tools": [F_THERE], "tool_choice": {"type": "any"}},
    ),
    "this one, alone": (
        {"tools": [F, G], "tool_choice": NAMED, "parallel_tool_calls": False},
        {
            "tools": [F_THERE, G_THERE],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        },
    ),
    "one at a time": (
        {"tools": [F], "parallel_tool_calls": False},
        {
            "tools": [F_THERE],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
    ),
    "some": ({"tools": [F, G], "tool_choice": allowed("auto")}, {"tools": [F_THERE]}),
    "any of some": (
        {"tools": [G, F], "tool_choice": allowed("required")},
        {"tools": [F_THERE], "tool_choice": {"type": "any"}},
    ),
    "sampling": (
        {"temperature": 0.5, "top_p": 0, "stop": ["x", "y"], "top_k": 3},
        {"temperature": 0.5, "top_p": 0, "stop_sequences": ["x", "y"], "top_k": 3},
    ),
    "a limit": ({"max_completion_tokens": 7}, {"max_tokens": 7}),
    "a limit, as it was called": ({"max_tokens": 8}, {"max_tokens": 8}),
    "who asks": ({"user": "u"}, {"metadata": {"user_id": "u"}}),
    "who asks, as it is called now": (
        {"user": "u", "safety_identifier": "s"},
        {"metadata": {"user_id": "s"}},
    ),
    "the standard tier": ({"service_tier": "default"}, {"service_tier": "standard_only"}),
    "any tier": ({"service_tier": "auto"}, {"service_tier": "auto"}),
    "an answer of a schema": (
        answer_in(
            schema={"type": "object", "properties": {}, "additionalProperties": False},
            description="D.",
            strict=True,
        ),
        {
            "output_config": {
                "format": {
                    "type": "json_schema",
                    "schema": {
                        "type": "object",
                        "properties": {},
                        "additionalProperties": False,
                        "description": "D.",
                    },
                }
            }
        },
    ),
    "text, said": ({"response_format": {"type": "text"}}, {}),
    "no thought": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "thought, and an answer of a schema": (
        {"reasoning_effort": "minimal", **answer_in(schema={"type": "object"})},
        {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {
                "effort": "low",
                "format": {"type": "json_schema", "schema": {"type": "object"}},
            },
        },
    ),
    "vendor keys": (
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "what no answer depends on": (
        {
            "store": True,
            "metadata": {"k": "v"},
            "prompt_cache_key": "k",
            "prompt_cache_retention": "24h",
            "n": 1,
            "seed": None,
            "logprobs": False,
            "frequency_penalty": 0,
            "presence_penalty": 0,
            "verbosity": "medium",
            "modalities": ["text"],
        },
        {},
    ),
}


@pytest.mark.parametrize("name", ASKED_AND_SENT)
def test_what_is_asked_there(name: str) -> None:
    check_that_it_becomes(*ASKED_AND_SENT[name])


def test_schemas_keep_the_order_of_their_keys() -> None:
    """It is the order in which the model writes."""
    (tool,) = translated({"tools": [G]})["tools"]
    assert list(tool["input_schema"]["properties"]) == ["z", "a"]


@pytest.mark.parametrize(
    ("effort", "word", "budget"),
    [
        ("minimal", "low", 1024),
        ("low", "low", 2048),
        ("medium", "medium", 8192),
        ("high", "high", 16384),
        ("xhigh", "xhigh", 24576),
        ("max", "max", 32768),
    ],
)
def test_how_much_to_think(effort: str, word: str, budget: int) -> None:
    """In words for new models; for old ones in tokens, which are added to the default limit."""
    adaptive = translated({"reasoning_effort": effort})
    assert adaptive["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert adaptive["output_config"] == {"effort": word}
    assert adaptive["max_tokens"] == 100
    older = translated({"reasoning_effort": effort}, Options(100, "budget"))
    assert older["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert older["max_tokens"] == 100 + budget
    assert known(adaptive)
    assert known(older)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_holds_for_thought_and_answer_together(field: str) -> None:
    """A quarter is the answer's; and what is too little to think in is refused."""
    options = Options(100, "budget")
    body = translated({"reasoning_effort": "high", field: 4000}, options)
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (4000, 3000)
    with pytest.raises(errors.UnsupportedValue, match="at least 1024 tokens") as refused:
        translated({"reasoning_effort": "minimal", field: 1365}, options)
    assert refused.value.field == field


def test_between_calls_a_budget_is_not_spent() -> None:
    """The API would refuse it where the thought before the calls does not come along. Where
    models decide themselves, it may be missing."""
    result = {"role": "tool", "tool_call_id": "c1", "content": "1"}
    body = {"messages": [HI, CALL, result], "reasoning_effort": "high"}
    assert "thinking" not in translated(body, Options(100, "budget"))
    assert "thinking" in translated(body)
    done = {"role": "assistant", "content": "done"}
    after = {**body, "messages": [HI, CALL, result, done, HI]}
    assert "thinking" in translated(after, Options(100, "budget"))


def test_vendor_keys_arrive_as_they_are() -> None:
    request = to_request({"model": "m", "messages": [HI]})
    request.extra_json = '{"top_k": 12345678901234567890123}'
    body = to_json(request, "claude", Options())
    assert json.dumps(body["top_k"]) == "12345678901234567890123"
