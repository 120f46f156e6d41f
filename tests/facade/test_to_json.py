"""Answers, key by key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import text_format
from openai.types import Model
from openai.types.chat import ChatCompletion

from diglot.facade import to_json
from diglot.v1 import completion_pb2, message_pb2, model_pb2


def completion(choices: str = "", rest: str = "") -> dict[str, Any]:
    answer = text_format.Parse(
        f'id: "c" created: 17 model: "m" choices {{ {choices} }} {rest}',
        completion_pb2.ChatCompletion(),
    )
    result: dict[str, Any] = json.loads(to_json.dumps(to_json.completion(answer)))
    return result


def message(fields: str) -> dict[str, Any]:
    text = f"message {{ role: ROLE_ASSISTANT {fields} }} finish_reason: FINISH_REASON_STOP"
    result: dict[str, Any] = completion(text)["choices"][0]["message"]
    return result


def test_the_smallest() -> None:
    assert completion("message { role: ROLE_ASSISTANT } finish_reason: FINISH_REASON_LENGTH") == {
        "id": "c",
        "object": "chat.completion",
        "created": 17,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "system_fingerprint": None,
    }


def test_all_that_may_come_once() -> None:
    answer = completion(
        rest="usage { prompt_tokens: 1 completion_tokens: 2 total_tokens: 3 "
        "prompt_tokens_details { cached_tokens: 0 audio_tokens: 4 } "
        "completion_tokens_details { reasoning_tokens: 5 } } "
        'service_tier: "default" system_fingerprint: "fp" metadata { key: "a" value: "b" }'
    )
    assert answer["usage"] == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert answer["service_tier"] == "default"
    assert answer["system_fingerprint"] == "fp"
    assert answer["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    "reason", ["stop", "length", "tool_calls", "content_filter", "function_call"]
)
def test_finish_reasons(reason: str) -> None:
    answer = completion(f"finish_reason: FINISH_REASON_{reason.upper()}")
    assert answer["choices"][0]["finish_reason"] == reason


def test_every_finish_reason_and_role_has_a_name() -> None:
    assert set(to_json.FINISH_REASONS) == set(completion_pb2.FinishReason.values()) - {0}
    assert set(to_json.ROLES) == set(message_pb2.Role.values()) - {0}


def test_messages() -> None:
    assert message('content: "" refusal: "no" reasoning_content: "hm"') == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "refusal": "no",
        "annotations": [],
    }
    assert message('tool_calls { id: "1" function { name: "f" arguments: "{}" } } '
                   'tool_calls { id: "2" custom { name: "c" input: "x" } }')["tool_calls"] == [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "2", "type": "custom", "custom": {"name": "c", "input": "x"}},
    ]  # fmt: skip
    assert message('function_call { name: "f" arguments: "" }')["function_call"] == {
        "name": "f",
        "arguments": "",
    }
    assert message('audio { id: "a" data: "d" expires_at: 5 transcript: "t" }')["audio"] == {
        "id": "a",
        "data": "d",
        "expires_at": 5,
        "transcript": "t",
    }
    citation = 'annotations { url_citation { start_index: 1 end_index: 2 url: "u" title: "t" } }'
    assert message(citation)["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 1, "end_index": 2, "url": "u", "title": "t"},
        }
    ]


def test_logprobs() -> None:
    token = 'token: "é" logprob: -9999.0 bytes: "\\303\\251"'
    answer = completion(
        f'logprobs {{ content {{ {token} top_logprobs {{ token: "x" logprob: -1 }} }} }}'
    )
    assert answer["choices"][0]["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -9999.0,
                "bytes": [195, 169],
                "top_logprobs": [{"token": "x", "logprob": -1.0, "bytes": None}],
            }
        ],
        "refusal": None,
    }
    refused = completion('logprobs { refusal { token: "no" logprob: 0 } }')["choices"][0][
        "logprobs"
    ]
    assert refused["content"] is None
    assert len(refused["refusal"]) == 1
    assert completion("logprobs {}")["choices"][0]["logprobs"] == {"content": [], "refusal": None}


def test_moderation() -> None:
    answer = completion(
        rest='moderation { input { results { model: "mod" results { model: "mod" flagged: true '
        'categories { key: "violence" value: true } category_scores { key: "violence" value: 0.5 } '
        'category_applied_input_types { key: "violence" value { types: "text" } } } } } '
        'output { error { code: "c" message: "m" } } }'
    )
    assert answer["moderation"] == {
        "input": {
            "type": "moderation_results",
            "model": "mod",
            "results": [
                {
                    "type": "moderation_result",
                    "model": "mod",
                    "flagged": True,
                    "categories": {"violence": True},
                    "category_scores": {"violence": 0.5},
                    "category_applied_input_types": {"violence": ["text"]},
                }
            ],
        },
        "output": {"type": "error", "code": "c", "message": "m"},
    }
    assert completion(rest="moderation {}")["moderation"] == {"input": None, "output": None}


def test_numbers_that_json_cannot_write_are_an_error_here() -> None:
    answer = completion_pb2.ChatCompletion()
    answer.choices.add().logprobs.content.add(logprob=float("-inf"))
    with pytest.raises(ValueError):
        to_json.dumps(to_json.completion(answer))


EXTRA = """extra_json: '{"x":{"a":[null,1.5,9007199254740993]},"parts":1,"extra_json":2}'"""
X = {"x": {"a": [None, 1.5, 2**53 + 1]}, "parts": 1, "extra_json": 2}


def test_keys_that_are_not_known_stand_beside_those_that_are() -> None:
    call = f'function {{ name: "f" arguments: "{{}}" {EXTRA} }}'
    annotations = (
        f'annotations {{ url_citation {{ url: "u" {EXTRA} }} {EXTRA} }} '
        """annotations { extra_json: '{"type":"file","file":{"type":null}}' }"""
    )
    answer = completion(
        f'message {{ role: ROLE_ASSISTANT content: "" {EXTRA} {annotations} '
        f'tool_calls {{ id: "1" {call} {EXTRA} }} tool_calls {{ id: "2" custom {{}} {EXTRA} }} '
        f'function_call {{ name: "f" arguments: "" {EXTRA} }} }} {EXTRA} '
        f"logprobs {{ content {{ {EXTRA} top_logprobs {{ {EXTRA} }} }} }}",
        f"{EXTRA} usage {{ {EXTRA} prompt_tokens_details {{ cached_tokens: 1 {EXTRA} }} "
        f"completion_tokens_details {{ {EXTRA} }} }}",
    )
    assert answer == answer | X
    choice = answer["choices"][0]
    assert choice == choice | X
    token = {"token": "", "logprob": 0.0, "bytes": None, **X}
    assert choice["logprobs"]["content"] == [{**token, "top_logprobs": [token]}]
    said = choice["message"]
    assert said == {
        "role": "assistant",
        "content": "",
        "refusal": None,
        **X,
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {"start_index": 0, "end_index": 0, "url": "u", "title": "", **X},
                **X,
            },
            {"type": "file", "file": {"type": None}},
        ],
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}", **X}, **X},
            {"id": "2", "type": "custom", "custom": {"name": "", "input": ""}, **X},
        ],
        "function_call": {"name": "f", "arguments": "", **X},
    }
    assert answer["usage"] == {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        **X,
        "prompt_tokens_details": {"cached_tokens": 1, **X},
        "completion_tokens_details": X,
    }


def test_a_key_that_is_known_is_not_said_by_others() -> None:
    """Whether it is there, or could be."""
    wrong = '{"id":"y","object":"y","usage":"y","metadata":"y","x":1}'
    answer = completion(rest=f"extra_json: '{wrong}'")
    assert answer == {**completion(), "x": 1}
    wrong = '{"role":"y","reasoning_content":"y","tool_calls":"y","tool_call_id":"y","x":1}'
    assert message(f"extra_json: '{wrong}'") == {**message(""), "x": 1}


@pytest.mark.parametrize("text", ["[]", "{", "1", '{"a":NaN}', '{"a":1e999}'])
def test_an_extra_that_is_no_json_is_an_error_here(text: str) -> None:
    answer = completion_pb2.ChatCompletion(extra_json=text)
    with pytest.raises(ValueError):
        to_json.dumps(to_json.completion(answer))


def test_models() -> None:
    one = model_pb2.Model(id="org/m:tag", created=17, owned_by="diglot")
    assert to_json.models(model_pb2.ListModelsResponse(models=[one])) == {
        "object": "list",
        "data": [{"id": "org/m:tag", "object": "model", "created": 17, "owned_by": "diglot"}],
    }
    Model.model_validate(to_json.model(one), strict=True)


def test_openais_own_types_accept_it() -> None:
    text = 'message { role: ROLE_ASSISTANT content: "x" } finish_reason: FINISH_REASON_STOP'
    ChatCompletion.model_validate(completion(text))


def test_unicode_is_written_as_it_is() -> None:
    text = "é\u2028\x85\U0001f600"
    assert to_json.dumps({"a": text}) == f'{{"a":"{text}"}}'.encode()
