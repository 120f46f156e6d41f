"""Requests as OpenAI has them, and what is asked of the Messages API: one row for each rule."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from conformance.ways import to_request
from messages_server import known

from diglot.service import errors
from diglot.service.anthropic import Options
from diglot.service.anthropic.request_json import to_json
from diglot.service.anthropic.unsupported import check

Json = dict[str, Any]

HI: Json = {"role": "user", "content": "hi"}
ASKED: Json = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
PNG = "iVBORw0KGgo="
PDF = base64.b64encode(b"%PDF-1.7 and so on").decode()
CALL: Json = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ],
}
CALLED: Json = {
    "role": "assistant",
    "content": [
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
    ],
}
F: Json = {"type": "function", "function": {"name": "f"}}
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


def user(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def allowed(mode: str) -> Json:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}


def answer_in(**schema: Any) -> Json:
    form = {"type": "json_schema", "json_schema": {"name": "n", **schema}}
    return {"response_format": form}


ASKED_AND_SENT: dict[str, tuple[Json, Json]] = {
    "nothing else": ({}, {}),
    "instructions, wherever they stand": (
        {
            "messages": [
                {"role": "system", "content": "S"},
                HI,
                {"role": "developer", "content": [{"type": "text", "text": "D"}]},
            ]
        },
        {
            "system": [{"type": "text", "text": "S"}, {"type": "text", "text": "D"}],
            "messages": [ASKED],
        },
    ),
    "what one side says in a row is one turn": (
        {
            "messages": [
                HI,
                {"role": "user", "content": "ho", "name": "me"},
                {"role": "assistant", "content": "a", "refusal": "no"},
                {"role": "assistant", "content": "b", "reasoning_content": "unsigned"},
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"}],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "text", "text": "no"},
                        {"type": "text", "text": "b"},
                    ],
                },
            ]
        },
    ),
    "empty texts are left out": (
        {
            "messages": [
                {"role": "user", "content": ""},
                {"role": "user", "content": [{"type": "text", "text": ""}]},
                HI,
            ]
        },
        {"messages": [ASKED]},
    ),
    "calls, and their results in one turn with what follows": (
        {
            "messages": [
                HI,
                CALL,
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
                {
                    "role": "tool",
                    "tool_call_id": "c2",
                    "content": [{"type": "text", "text": "2"}, {"type": "text", "text": "3"}],
                },
                {"role": "tool", "tool_call_id": "c3", "content": ""},
                HI,
            ]
        },
        {
            "messages": [
                ASKED,
                CALLED,
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [{"type": "text", "text": "1"}],
                        },
                        {
                            "type": "tool_result",
                            "tool_use_id": "c2",
                            "content": [
                                {"type": "text", "text": "2"},
                                {"type": "text", "text": "3"},
                            ],
                        },
                        {"type": "tool_result", "tool_use_id": "c3"},
                        {"type": "text", "text": "hi"},
                    ],
                },
            ]
        },
    ),
    "images, within and by URL": (
        user(
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "image_url", "image_url": {"url": "https://h/i.png", "detail": "low"}},
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                        },
                        {"type": "image", "source": {"type": "url", "url": "https://h/i.png"}},
                    ],
                }
            ]
        },
    ),
    "documents": (
        user(
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            },
            {"type": "file", "file": {"file_data": PDF}},
            {"type": "file", "file": {"file_data": "data:text/plain;base64,c21vcmdhcw=="}},
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {
                                "type": "base64",
                                "media_type": "application/pdf",
                                "data": PDF,
                            },
                            "title": "a.pdf",
                        },
                        {
                            "type": "document",
                            "source": {
                                "type": "base64",
                                "media_type": "application/pdf",
                                "data": PDF,
                            },
                        },
                        {
                            "type": "document",
                            "source": {
                                "type": "text",
                                "media_type": "text/plain",
                                "data": "smorgas",
                            },
                        },
                    ],
                }
            ]
        },
    ),
    "where to cache": (
        user(
            {
                "type": "text",
                "text": "a",
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
            },
            {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "text",
                            "text": "a",
                            "cache_control": {"type": "ephemeral", "ttl": "1h"},
                        },
                        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
                    ],
                }
            ]
        },
    ),
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


def translated(body: Json, options: Options | None = None) -> Json:
    request = to_request({"model": "m", "messages": [HI]} | body)
    check(request)
    return to_json(request, "claude", options or Options(default_max_tokens=100))


@pytest.mark.parametrize("name", ASKED_AND_SENT)
def test_what_is_asked_there(name: str) -> None:
    """And the SDK's types know all of it."""
    asked, sent = ASKED_AND_SENT[name]
    body = translated(asked)
    base = {"model": "claude", "stream": True, "max_tokens": 100, "messages": [ASKED]}
    assert body == base | sent
    assert known(body)


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
    """The API would refuse it: the thought before the calls cannot come along. Where models
    decide themselves, it may be missing."""
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
