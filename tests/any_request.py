"""Any valid request, in OpenAI's JSON, with keys that OpenAI does not know; and what it means."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from diglot.facade.parse import parse
from diglot.facade.request import CompletionRequest
from diglot.facade.to_contract import to_contract
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

Json = dict[str, Any]
Jsons = SearchStrategy[Json]

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

# Keys that OpenAI does not know: kept where engines read them, ignored elsewhere.
UNKNOWN, IGNORED = "x-", "y-"


def number(low: int, high: int) -> SearchStrategy[int | float]:
    return st.integers(low, high) | st.floats(low, high)


def an_object(required: dict[str, SearchStrategy[Any]], **optional: SearchStrategy[Any]) -> Jsons:
    """Optional members may be there, or not, or null; one more is unknown, and another ignored."""
    members = {key: st.none() | strategy for key, strategy in optional.items()}
    return st.fixed_dictionaries(required, optional={**members, f"{UNKNOWN}unknown": anything})


def closed(required: dict[str, SearchStrategy[Any]], **optional: SearchStrategy[Any]) -> Jsons:
    """Likewise, of which no unknown key is kept."""
    members = {key: st.none() | strategy for key, strategy in optional.items()}
    return st.fixed_dictionaries(required, optional={**members, f"{IGNORED}unknown": anything})


def tagged(kind: str, body: SearchStrategy[Any], **optional: SearchStrategy[Any]) -> Jsons:
    """{"type": kind, kind: …}"""
    return an_object({"type": st.just(kind), kind: body}, **optional)


mark = closed({"mode": st.just("explicit")}, ttl=st.sampled_from(["30m", "12h"]))
text_part = tagged("text", text, prompt_cache_breakpoint=mark)
user_part = st.one_of(
    text_part,
    tagged("image_url", an_object({"url": text}, detail=text), prompt_cache_breakpoint=mark),
    tagged("input_audio", an_object({"data": text, "format": text}), prompt_cache_breakpoint=mark),
    tagged("file", an_object({}, file_data=text, file_id=text, filename=text)),
)
# Of a type that OpenAI does not know: whole, with nulls, and keys that mean something elsewhere.
other_part = st.one_of(
    st.fixed_dictionaries({"type": st.just("video_url"), "video_url": any_object}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["image_embeds", "thinking", "other_json", "Text"])},
        optional=dict.fromkeys(("text", "file", "prompt_cache_breakpoint", "extra_json"), anything),
    ),
)
any_part = text_part | other_part
answer_part = any_part | tagged("refusal", text)


def content(part: Jsons) -> SearchStrategy[Any]:
    return text | st.lists(part, min_size=1, max_size=3)


function_call = an_object({"name": text, "arguments": text})
tool_call = st.one_of(
    tagged("function", function_call, index=st.integers()).map(lambda call: {"id": "c", **call}),
    tagged("custom", closed({"name": text, "input": text})).map(lambda call: {"id": "", **call}),
)
answer: dict[str, SearchStrategy[Any]] = {
    "name": text,
    "refusal": text,
    "audio": closed({"id": text}, data=text),
    "tool_calls": st.lists(tool_call, max_size=2),
    "function_call": function_call,
    "reasoning_content": text,
    "reasoning": text | any_object,
    "annotations": st.lists(
        st.just({"type": "url_citation", "url_citation": {"url": "", "x-content": "y"}})
        | an_object({"type": st.just("file"), "file": any_object}),
        max_size=2,
    ),
    "parsed": anything,
}


def role(kind: str, **members: SearchStrategy[Any]) -> dict[str, SearchStrategy[Any]]:
    return {"role": st.just(kind), **members}


message = st.one_of(
    an_object(role("developer", content=content(any_part)), name=text),
    an_object(role("system", content=content(any_part)), name=text),
    an_object(role("user", content=content(user_part | other_part)), name=text),
    an_object(role("assistant", content=content(answer_part)), **answer),
    an_object(
        role("assistant", tool_calls=st.lists(tool_call, min_size=1, max_size=2)), content=st.none()
    ),
    an_object(role("tool", content=content(user_part | other_part), tool_call_id=text), name=text),
    an_object(role("function", content=st.none() | text, name=some_text)),
)
function = an_object({"name": name}, description=text, parameters=any_object, strict=flag)
grammar = closed(
    {"type": st.just("grammar"), "grammar": closed({"syntax": text, "definition": text})}
)
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
    an_object({"type": st.sampled_from(["text", "json_object"])}), tagged("json_schema", schema)
)
place = closed({}, country=text, region=text, city=text, timezone=text)
rule = closed({}, mode=text)
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
    "moderation": closed({"model": text}, policy=closed({}, input=rule, output=rule)),
    "n": st.integers(1, 128),
    "parallel_tool_calls": flag,
    "prediction": closed({"type": st.just("content"), "content": content(text_part)}),
    "prompt_cache_key": text,
    "prompt_cache_options": closed({}, mode=text, ttl=text),
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
    "function_call": st.sampled_from(["none", "auto"]) | closed({"name": name}),
    "web_search_options": closed(
        {},
        search_context_size=text,
        user_location=closed({"type": st.just("approximate"), "approximate": place}),
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
            "audio": closed({"format": text, "voice": text | closed({"id": text})}),
        }
    ),
    tools_and_choice(),
]
# On top also null is kept.
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


def meaning(body: Json) -> Json:
    """The request without the choices that JSON leaves its writer.

    Null and an empty list are absent, a single stop is a list of one. JSON of others, which
    must come through as it is, becomes its own text: so the order of keys counts, and 1 is
    not 1.0. Citations and what libraries parsed are not sent back.
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
        value["tool_calls"] = [
            {key: item for key, item in call.items() if key != "index"}
            for call in value.get("tool_calls") or ()
        ]
        value.pop("parsed", None)
        notes = value.pop("annotations", None) or ()
        value["annotations"] = [json.dumps(one) for one in notes if "url_citation" not in one]
    result: Json = {}
    for key, item in value.items():
        if item is None or (item == [] and not key.startswith(UNKNOWN)) or key.startswith(IGNORED):
            continue
        if key in ("parameters", "schema") or key.startswith(UNKNOWN):
            result[key] = json.dumps(item)
        elif key == "content" and isinstance(item, list):
            result[key] = [_part_meaning(part) for part in item]
        elif key == "allowed_tools":
            result[key] = {**item, "tools": [json.dumps(tool) for tool in item["tools"]]}
        else:
            result[key] = _meaning(item)
    return result


def _part_meaning(part: Json) -> Any:
    if part["type"] in ("text", "image_url", "input_audio", "file", "refusal"):
        return _meaning(part)
    return json.dumps({"type": part["type"], **part})


def read(body: Json, ensure_ascii: bool = False) -> CreateChatCompletionRequest:
    return to_contract(parse(json.dumps(body, ensure_ascii=ensure_ascii).encode()))
