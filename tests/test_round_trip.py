"""Nothing of a request is lost on its way: OpenAI's JSON, the contract, and JSON again.

The façade reads JSON, the upstream engine writes it; neither knows the other. What lies
between is the contract, so this shows that it has a home for everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from diglot.facade.parse import parse
from diglot.facade.request import CompletionRequest
from diglot.facade.to_contract import to_contract
from diglot.service.upstream.request_json import to_json
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

Json = dict[str, Any]
Jsons = SearchStrategy[Json]

# -- Valid requests -----------------------------------------------------------------------

text = st.text(max_size=8)
some_text = st.text(min_size=1, max_size=8)
name = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
flag = st.booleans()
finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | flag | st.integers(-(2**70), 2**70) | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
any_object = st.dictionaries(text, anything, max_size=4)
# Keys that OpenAI does not know: kept on top, where engines read them, ignored elsewhere.
UNKNOWN = "x-"


def number(low: int, high: int) -> SearchStrategy[int | float]:
    return st.integers(low, high) | st.floats(low, high)


def an_object(required: dict[str, SearchStrategy[Any]], **optional: SearchStrategy[Any]) -> Jsons:
    """Optional members may be there, or not, or null; one more is unknown."""
    members = {key: st.none() | strategy for key, strategy in optional.items()}
    return st.fixed_dictionaries(required, optional={**members, f"{UNKNOWN}unknown": anything})


def tagged(kind: str, body: SearchStrategy[Any], **optional: SearchStrategy[Any]) -> Jsons:
    """{"type": kind, kind: …}"""
    return an_object({"type": st.just(kind), kind: body}, **optional)


mark = an_object({"mode": st.just("explicit")}, ttl=st.sampled_from(["30m", "12h"]))
text_part = tagged("text", text, prompt_cache_breakpoint=mark)
user_part = st.one_of(
    text_part,
    tagged("image_url", an_object({"url": text}, detail=text), prompt_cache_breakpoint=mark),
    tagged("input_audio", an_object({"data": text, "format": text}), prompt_cache_breakpoint=mark),
    tagged("file", an_object({}, file_data=text, file_id=text, filename=text)),
)
answer_part = text_part | tagged("refusal", text)


def content(part: Jsons) -> SearchStrategy[Any]:
    return text | st.lists(part, min_size=1, max_size=3)


function_call = an_object({"name": text, "arguments": text})
tool_call = st.one_of(
    tagged("function", function_call, index=st.integers()).map(lambda call: {"id": "c", **call}),
    tagged("custom", an_object({"name": text, "input": text})).map(lambda call: {"id": "", **call}),
)
answer: dict[str, SearchStrategy[Any]] = {
    "name": text,
    "refusal": text,
    "audio": an_object({"id": text}, data=text),
    "tool_calls": st.lists(tool_call, max_size=2),
    "function_call": function_call,
    "reasoning_content": text,
    "reasoning": text | any_object,
    "annotations": st.just([]),
}


def role(kind: str, **members: SearchStrategy[Any]) -> dict[str, SearchStrategy[Any]]:
    return {"role": st.just(kind), **members}


message = st.one_of(
    an_object(role("developer", content=content(text_part)), name=text),
    an_object(role("system", content=content(text_part)), name=text),
    an_object(role("user", content=content(user_part)), name=text),
    an_object(role("assistant", content=content(answer_part)), **answer),
    an_object(
        role("assistant", tool_calls=st.lists(tool_call, min_size=1, max_size=2)), content=st.none()
    ),
    an_object(role("tool", content=content(text_part), tool_call_id=text)),
    an_object(role("function", content=st.none() | text, name=some_text)),
)

function = an_object({"name": name}, description=text, parameters=any_object, strict=flag)
grammar = tagged("grammar", an_object({"syntax": text, "definition": text}))
custom_tool = an_object(
    {"name": name}, description=text, format=grammar | st.just({"type": "text"})
)
tool = tagged("function", function) | tagged("custom", custom_tool)
modes = st.sampled_from(["none", "auto", "required"])


@st.composite
def tools_and_choice(draw: st.DrawFn) -> Json:
    tools = draw(st.lists(tool, min_size=1, max_size=3))
    chosen = draw(st.sampled_from(tools))
    kind = chosen["type"]
    by_name = {"type": kind, kind: {"name": chosen[kind]["name"]}}
    some = {
        "mode": draw(st.sampled_from(["auto", "required"])),
        "tools": draw(st.lists(any_object)),
    }
    among_some = {"type": "allowed_tools", "allowed_tools": some}
    choice = draw(st.none() | modes | st.sampled_from([by_name, among_some]))
    return {"tools": tools, "tool_choice": choice}


schema = an_object({"name": name}, description=text, schema=any_object, strict=flag)
response_format = st.one_of(
    st.sampled_from([{"type": "text"}, {"type": "json_object"}]), tagged("json_schema", schema)
)
place = an_object({}, country=text, region=text, city=text, timezone=text)
rule = an_object({}, mode=text)
tokens = st.integers(1, 2**31 - 1)
biases = st.dictionaries(
    st.integers(0, 2**31 - 1).map(str), st.integers(-100, 100) | st.floats(-100, 100), max_size=3
)

OPTIONS: dict[str, SearchStrategy[Any]] = {
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "logit_bias": biases,
    "logprobs": flag,
    "metadata": st.dictionaries(some_text, text, max_size=3),
    "moderation": an_object({"model": text}, policy=an_object({}, input=rule, output=rule)),
    "n": st.integers(1, 128),
    "parallel_tool_calls": flag,
    "prediction": tagged("content", content(text_part)),
    "prompt_cache_key": text,
    "prompt_cache_options": an_object({}, mode=text, ttl=text),
    "prompt_cache_retention": text,
    "reasoning_effort": text,
    "response_format": response_format,
    "safety_identifier": text,
    "seed": st.integers(-(2**63), 2**63 - 1),
    "service_tier": text,
    "stop": some_text | st.lists(some_text, max_size=4),
    "store": flag,
    "stream": flag,
    "stream_options": an_object({}, include_usage=flag, include_obfuscation=flag),
    "user": text,
    "verbosity": text,
    "functions": st.lists(function, max_size=2),
    "function_call": st.sampled_from(["none", "auto"]) | an_object({"name": name}),
    "web_search_options": an_object(
        {},
        search_context_size=text,
        user_location=an_object({"type": st.just("approximate"), "approximate": place}),
    ),
}
# Options that depend on one another: these go together.
GROUPS: list[Jsons] = [
    an_object({}, max_tokens=tokens),
    an_object({}, max_completion_tokens=tokens),
    st.fixed_dictionaries({"logprobs": st.just(True), "top_logprobs": st.integers(0, 20)}),
    st.fixed_dictionaries(
        {
            "modalities": st.lists(st.sampled_from(["text", "audio"]), max_size=2),
            "audio": an_object({"format": text, "voice": text | an_object({"id": text})}),
        }
    ),
    tools_and_choice(),
]
unknown_keys = st.dictionaries(text.map(lambda key: UNKNOWN + key), anything, max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> Json:
    body: Json = {
        "model": draw(some_text),
        "messages": draw(st.lists(message, min_size=1, max_size=3)),
    }
    for key in draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=8, unique=True)):
        body[key] = draw(st.none() | OPTIONS[key])
    for group in draw(st.lists(st.sampled_from(GROUPS[1:]), max_size=3, unique_by=id)):
        body |= draw(group)
    if "max_completion_tokens" not in body:
        body |= draw(GROUPS[0])
    body |= draw(unknown_keys)
    return body


# -- What they mean -----------------------------------------------------------------------


def meaning(body: Json) -> Json:
    """The request without the choices that JSON leaves its writer.

    Null and an empty list are absent, a single stop is a list of one. JSON of others, which
    must come through as it is, becomes its own text: so the order of keys counts, and 1 is
    not 1.0.
    """
    fields = CompletionRequest.model_fields
    known = {key: value for key, value in body.items() if key in fields}
    known.pop("stream", None)
    if isinstance(known.get("stop"), str):
        known["stop"] = [known["stop"]]
    for key in ("metadata", "logit_bias"):
        known[key] = known.get(key) or None
    result: Json = _meaning(known)
    result["unknown"] = json.dumps({key: body[key] for key in body if key not in fields})
    return result


def _meaning(value: Any) -> Any:
    if isinstance(value, list):
        return [_meaning(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if value.get("role") == "assistant":
        thought = value.pop("reasoning", None)
        if value.get("reasoning_content") is None and isinstance(thought, str):
            value["reasoning_content"] = thought
        if value.get("audio"):
            value["audio"] = {"id": value["audio"]["id"]}
        for call in value.get("tool_calls") or ():
            call.pop("index", None)
    result: Json = {}
    for key, item in value.items():
        if item is None or item == [] or key.startswith(UNKNOWN):
            continue
        if key in ("parameters", "schema"):
            result[key] = json.dumps(item)
        elif key == "allowed_tools":
            result[key] = {**item, "tools": [json.dumps(tool) for tool in item["tools"]]}
        else:
            result[key] = _meaning(item)
    return result


def read(body: Json, ensure_ascii: bool = False) -> CreateChatCompletionRequest:
    return to_contract(parse(json.dumps(body, ensure_ascii=ensure_ascii).encode()))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=requests(), ensure_ascii=flag)
def test_a_request_comes_out_as_it_went_in(body: Json, ensure_ascii: bool) -> None:
    request = read(body, ensure_ascii)
    over_the_wire = CreateChatCompletionRequest.FromString(request.SerializeToString())
    written = to_json(over_the_wire)
    assert meaning(written) == meaning(body)
    assert read(written) == request


def test_the_strategy_above_knows_every_field() -> None:
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


# -- Everything at once -------------------------------------------------------------------

MARK = {"mode": "explicit", "ttl": "30m"}
BIG = {"z": 2**53 + 1, "a": 1.0}
FUNCTION = {"name": "f", "description": "d", "parameters": BIG, "strict": True}
CALL = {"name": "f", "arguments": "{ }"}

# Every member of every object; what excludes one another stands in several.
EVERYTHING: list[Json] = [
    {
        "x-engine": BIG,
        "model": "m",
        "messages": [
            {"role": "developer", "content": "", "name": "n"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t", "prompt_cache_breakpoint": MARK},
                    {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "d", "file_id": "i", "filename": "n"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "refusal", "refusal": "no"}],
                "refusal": "no",
                "audio": {"id": "a"},
                "tool_calls": [
                    {"id": "1", "type": "function", "function": CALL},
                    {"id": "2", "type": "custom", "custom": {"name": "c", "input": "x"}},
                ],
                "function_call": CALL,
                "reasoning_content": "hm",
            },
            {"role": "tool", "content": "r", "tool_call_id": "1"},
        ],
        **dict.fromkeys(("temperature", "frequency_penalty", "presence_penalty"), 1.5),
        **dict.fromkeys(("max_tokens", "max_completion_tokens", "n", "top_logprobs"), 7),
        **dict.fromkeys(("logprobs", "parallel_tool_calls", "store"), True),
        **dict.fromkeys(("reasoning_effort", "verbosity", "safety_identifier", "user"), "s"),
        **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention", "service_tier"), "s"),
        "top_p": 0.5,
        "seed": -(2**63),
        "logit_bias": {"5": 1.5},
        "stop": ["a", "b"],
        "stream_options": {"include_usage": False, "include_obfuscation": True},
        "tools": [
            {"type": "function", "function": FUNCTION},
            {"type": "custom", "custom": {"name": "c", "description": "d"}},
            {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}},
            {
                "type": "custom",
                "custom": {
                    "name": "c",
                    "format": {"type": "grammar", "grammar": {"syntax": "s", "definition": "d"}},
                },
            },
        ],
        "tool_choice": "required",
        "functions": [FUNCTION],
        "function_call": {"name": "f"},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "description": "d", "schema": BIG, "strict": False},
        },
        "modalities": ["text", "audio"],
        "audio": {"format": "wav", "voice": "alloy"},
        "prediction": {"type": "content", "content": [{"type": "text", "text": "t"}]},
        "web_search_options": {
            "search_context_size": "low",
            "user_location": {
                "type": "approximate",
                "approximate": {"country": "c", "region": "r", "city": "c", "timezone": "t"},
            },
        },
        "moderation": {
            "model": "m",
            "policy": {"input": {"mode": "score"}, "output": {"mode": "block"}},
        },
        "metadata": {"k": "v"},
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
    },
    {
        "model": "m",
        "messages": [],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "function_call": "none",
        "response_format": {"type": "text"},
        "audio": {"format": "wav", "voice": {"id": "v"}},
        "prediction": {"type": "content", "content": "t"},
    },
    {
        "model": "m",
        "messages": [],
        "tool_choice": {"type": "custom", "custom": {"name": "c"}},
        "response_format": {"type": "json_object"},
    },
    {
        "model": "m",
        "messages": [],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
        },
    },
]
# What a message has only in answers, where it came from a model.
ONLY_IN_ANSWERS = {
    *("diglot.v1.Audio.data", "diglot.v1.Audio.expires_at", "diglot.v1.Audio.transcript"),
    "diglot.v1.Message.annotations",
}


@pytest.mark.parametrize("body", EVERYTHING, ids=lambda body: str(body.get("tool_choice")))
def test_everything_comes_out_as_it_went_in(body: Json) -> None:
    written = to_json(read(body))
    assert written == body
    for key in ("tools", "functions", "response_format", "tool_choice", "x-engine"):
        assert json.dumps(written.get(key)) == json.dumps(body.get(key))


def test_everything_is_everything() -> None:
    """A new field of the contract is not done before it stands above."""
    filled: set[str] = set()
    for body in EVERYTHING:
        filled |= set(fields_set(read(body)))
    known = set(fields_known(CreateChatCompletionRequest.DESCRIPTOR, set()))
    assert filled == known


def fields_set(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        yield field.full_name
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for inner in value if field.is_repeated else [value]:
            yield from fields_set(inner)


def fields_known(kind: Descriptor, seen: set[str]) -> Iterator[str]:
    seen.add(kind.full_name)
    for field in kind.fields:
        if field.full_name in ONLY_IN_ANSWERS:
            continue
        yield field.full_name
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry and inner.full_name not in seen:
            yield from fields_known(inner, seen)
