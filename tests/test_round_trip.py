"""Nothing of a request is lost on its way: OpenAI's JSON, the contract, and JSON again.

The façade reads JSON, the upstream engine writes it; neither knows the other. What lies
between is the contract, so this shows that it has a home for everything.
"""

from __future__ import annotations

import json

from any_request import OPTIONS, Json, flag, meaning, read, requests
from hypothesis import HealthCheck, given, settings

from diglot.facade.request import CompletionRequest
from diglot.service.upstream.request_json import to_json
from diglot.v1.chat_pb2 import CreateChatCompletionRequest


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=requests(), ensure_ascii=flag)
def test_a_request_comes_out_as_it_went_in(body: Json, ensure_ascii: bool) -> None:
    request = read(body, ensure_ascii)
    over_the_wire = CreateChatCompletionRequest.FromString(request.SerializeToString())
    written = to_json(over_the_wire)
    assert meaning(written) == meaning(body)
    assert read(written) == request


def test_the_strategy_knows_every_field() -> None:
    grouped = {
        *("max_tokens", "max_completion_tokens", "top_logprobs"),
        *("modalities", "audio", "tools", "tool_choice"),
    }
    assert {*OPTIONS, *grouped, "model", "messages"} == set(CompletionRequest.model_fields)


def test_what_is_easily_lost() -> None:
    """By hand, for those who look for a certain thing."""
    big = {"z": 2**53 + 1, "a": {"y": -(2**64), "b": 1.0, "c": 1}, "": None, "é": "\u2028"}
    body: Json = {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": ""}]},
            {"role": "user", "content": ""},
            {"role": "assistant", "content": None, "refusal": ""},
        ],
        "seed": 2**53 + 1,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": big}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": big}},
        "stop": ["one"],
        "temperature": 0.0,
        "x-engine": big,
    }
    written = to_json(read(body))
    assert json.dumps(written["tools"]) == json.dumps(body["tools"])
    assert json.dumps(written["response_format"]) == json.dumps(body["response_format"])
    assert json.dumps(written["x-engine"]) == json.dumps(big)
    assert written == body
    assert read({**body, "stop": "one"}) == read(body)
