"""Requests that are answered, and with what.

`source` says what OpenAI does, and where that is known from: § is a section of
reference/openai_contract.md, # a number in reference/gotchas.md. What comes of a scenario is
what a model would make of it; the scripted one is told by the key `scripted`.
"""

# ruff: noqa: E501  # a table reads better in one line a row

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .plain import Json

WHOLE = "whole"
STREAMED = "streamed"
BOTH = (WHOLE, STREAMED)

HELLO: Json = {"role": "user", "content": "hello there world"}


@dataclass(frozen=True)
class Scenario:
    name: str
    request: Json
    """As OpenAI has it; without `stream`, and without what every request has."""
    choices: list[Json]
    """In plain form."""
    usage: tuple[int, int]
    """Tokens of the prompt, and of the answer."""
    source: str
    modes: tuple[str, ...] = BOTH

    @property
    def body(self) -> Json:
        return {"model": "scripted", "messages": [HELLO], **self.request}

    @property
    def with_usage(self) -> bool:
        """Whether its stream ends with the usage."""
        return bool((self.request.get("stream_options") or {}).get("include_usage"))


def says(
    content: str | None = None,
    finish: str = "stop",
    *,
    index: int = 0,
    logprobs: Json | None = None,
    **message: Any,
) -> Json:
    """A choice."""
    if content is not None:
        message["content"] = content
    choice: Json = {
        "index": index,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
    }
    if logprobs is not None:
        choice["logprobs"] = logprobs
    return choice


def call(name: str, arguments: str, place: int = 0, *, index: int = 0) -> Json:
    return {
        "id": f"call_scripted_{index}_{place}",
        "function": {"name": name, "arguments": arguments},
    }


def token(text: str, *, top: bool = False) -> Json:
    entry: Json = {"token": text, "logprob": 0.0, "bytes": list(text.encode())}
    return {**entry, "top_logprobs": [entry]} if top else entry


def tool(name: str, **function: Any) -> Json:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {
        "type": "function",
        "function": {"name": name, "parameters": parameters, "strict": True, **function},
    }


ECHO = [says("hello there world")]
WEATHER: Json = {"name": "weather", "arguments": '{"city": "Ulm"}'}
TOOLS = [tool("weather"), tool("time")]
ONE_CALL = call("weather", '{"city": "Ulm"}')

# What clients send back as an assistant's message: every key that some server put in.
REPLAYED: Json = {
    "role": "assistant", "content": "", "refusal": None, "annotations": [], "audio": None,
    "function_call": None, "tool_calls": [], "reasoning_content": "hm", "reasoning": "hm",
    "parsed": None, "provider_specific_fields": {"x": 1},
}  # fmt: skip

# Odd, but text: what JSON, lines of events, or careless code could take for something else.
ODD = 'a "quoted" \\ 日本語 👩‍👩‍👧‍👦 e\u0301 \u2028\u2029\u0085 \x00\x1f\x7f \ufeff ]}\r\n\r\ndata: [DONE]\n\n: x'

NULLABLE = (
    "audio", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens",
    "metadata", "modalities", "moderation", "n", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier", "seed",
    "service_tier", "stop", "store", "stream_options", "temperature", "top_logprobs", "top_p",
    "verbosity", "scripted",
)  # fmt: skip

SCENARIOS = [
    Scenario("text", {}, ECHO, (3, 3), "content, refusal null, stop (§2; #1, #4)"),
    Scenario(
        "text with whitespace", {"scripted": {"content": "  two\n\nlines\t"}},
        [says("  two\n\nlines\t")], (3, 3), "text is not trimmed (§2)",
    ),
    Scenario("no text", {"messages": [{"role": "user", "content": ""}]}, [says("")], (0, 0), 'content "" is not null (§1.1; #4)'),
    Scenario("odd text", {"messages": [{"role": "user", "content": ODD}]}, [says(ODD)], (14, 14), "text survives to the byte (§3.1; #38)"),
    Scenario(
        "long text", {"scripted": {"content": "a b", "tokens": 300}},
        [says(" a b" * 150)], (3, 300), "chunks may be sent together, none is lost (§3.1)",
    ),
    Scenario(
        "n", {"n": 3},
        [says("hello there world", index=index) for index in range(3)], (3, 9),
        "all choices in order, the prompt counted once (§2; #42)",
    ),
    Scenario("max_tokens", {"max_tokens": 2}, [says("hello there", "length")], (3, 2), "a cut answer is a length (§2; #8)"),
    Scenario("max_completion_tokens", {"max_completion_tokens": 1}, [says("hello", "length")], (3, 1), "the same under its new name (§1; #49)"),
    Scenario("a limit that is just enough", {"max_tokens": 3}, ECHO, (3, 3), "not cut is not a length (§2)"),
    Scenario(
        "a limit for each choice", {"max_tokens": 1, "n": 2},
        [says("hello", "length", index=0), says("hello", "length", index=1)], (3, 2), "the limit is each choice's (§1)",
    ),
    Scenario("a limit met while thinking", {"max_completion_tokens": 1, "scripted": {"reasoning": "let me see", "content": "yes"}},
             [says("", "length", reasoning_content="let")], (3, 1), "the limit counts thoughts (§1)"),
    Scenario("stop", {"stop": "there w"}, [says("hello ")], (3, 2), "the text never contains the stop sequence (§1; #39)"),
    Scenario("stop, several", {"stop": ["wor", "zzz"]}, [says("hello there ")], (3, 3), "the first that is met ends it (§1)"),
    Scenario("stop, at once", {"stop": ["hello"]}, [says("")], (3, 0), "a stop is a stop, also with no text before it (§1)"),
    Scenario(
        "logprobs", {"logprobs": True},
        [says("hello there world", logprobs={"content": [token("hello"), token(" there"), token(" world")]})], (3, 3),
        "one entry a token, top_logprobs [] (§2; #41)",
    ),
    Scenario(
        "top_logprobs", {"logprobs": True, "top_logprobs": 1, "scripted": {"content": "é ☃"}},
        [says("é ☃", logprobs={"content": [token("é", top=True), token(" ☃", top=True)]})], (3, 2),
        "each with its alternatives; bytes are numbers (§2)",
    ),
    Scenario(
        "logprobs, not asked for", {"logprobs": False, "n": 1}, ECHO, (3, 3), "logprobs null (§2)",
    ),
    Scenario("refusal", {"scripted": {"refusal": "I cannot help."}}, [says(refusal="I cannot help.")], (3, 3), "refusal in place of content, which is null; stop (§2)"),
    Scenario(
        "logprobs of a refusal", {"logprobs": True, "scripted": {"refusal": "No."}},
        [says(refusal="No.", logprobs={"refusal": [token("No.")]})], (3, 1), "under refusal, content null (§2)",
    ),
    Scenario(
        "reasoning", {"scripted": {"reasoning": "hm, well", "content": "yes"}},
        [says("yes", reasoning_content="hm, well")], (3, 3), "an extension that the SDK lets through (§2; #51)",
    ),
    Scenario("one tool call", {"tools": TOOLS, "scripted": {"tool_calls": [WEATHER]}}, [says(finish="tool_calls", tool_calls=[ONE_CALL])], (3, 0),
             "content null, tool_calls in both modes (§2, §3; #4, #16, #21)"),
    Scenario(
        "text before a tool call", {"tools": TOOLS, "scripted": {"content": "let me look", "tool_calls": [WEATHER]}},
        [says("let me look", "tool_calls", tool_calls=[ONE_CALL])], (3, 3), "both (§2)",
    ),
    Scenario(
        "a call without arguments", {"tools": [tool("now")], "scripted": {"tool_calls": [{"name": "now"}]}},
        [says(finish="tool_calls", tool_calls=[call("now", "{}")])], (3, 0), "arguments {} (§3; #25)",
    ),
    Scenario(
        "arguments that are no JSON", {"tools": [tool("time", strict=False)], "scripted": {"tool_calls": [{"name": "time", "arguments": '{"ü": "\\ud83d\\ude00'}]}},
        [says(finish="tool_calls", tool_calls=[call("time", '{"ü": "\\ud83d\\ude00')])], (3, 0), "arguments are text, never parsed (§7)",
    ),
    Scenario(
        "parallel tool calls",
        {"tools": TOOLS, "parallel_tool_calls": True, "scripted": {"tool_calls": [WEATHER, {"name": "time"}, WEATHER]}},
        [says(finish="tool_calls", tool_calls=[ONE_CALL, call("time", "{}", 1), call("weather", '{"city": "Ulm"}', 2)])], (3, 0),
        "indices 0..k, each header once (§3; #19, #20, #22)",
    ),
    Scenario(
        "tool calls in two choices", {"tools": TOOLS, "n": 2, "scripted": {"tool_calls": [WEATHER]}},
        [says(finish="tool_calls", index=index, tool_calls=[call("weather", '{"city": "Ulm"}', index=index)]) for index in range(2)],
        (3, 0), "ids are unique (#26)",
    ),
    Scenario(
        "tool_choice required", {"tools": TOOLS, "tool_choice": "required", "scripted": {"tool_calls": [WEATHER]}},
        [says(finish="tool_calls", tool_calls=[ONE_CALL])], (3, 0), "tool_calls (§2; #17)",
    ),
    Scenario(
        "tool_choice by name",
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}, "scripted": {"tool_calls": [WEATHER]}},
        [says(tool_calls=[ONE_CALL])], (3, 0), "stop, in both modes (§2; #17)",
    ),
    Scenario(
        "tool_choice among some",
        {
            "tools": TOOLS, "scripted": {"tool_calls": [WEATHER]},
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}},
        },
        [says(finish="tool_calls", tool_calls=[ONE_CALL])], (3, 0), "a rule for a part of the tools (§1.3)",
    ),
    Scenario("tool_choice none", {"tools": TOOLS, "tool_choice": "none"}, ECHO, (3, 3), "no key tool_calls (§2; #23)"),
    Scenario(
        "a limit met before the call", {"tools": TOOLS, "max_tokens": 1, "scripted": {"content": "let me look", "tool_calls": [WEATHER]}},
        [says("let", "length")], (3, 1), "length wins (§2; #18)",
    ),
    Scenario("usage, asked for", {"stream_options": {"include_usage": True}}, ECHO, (3, 3), "a last chunk of its own, choices [] (§3; #11, #13)", (STREAMED,)),
    Scenario("usage of several, asked for", {"n": 2, "stream_options": {"include_usage": True}},
             [says("hello there world", index=0), says("hello there world", index=1)], (3, 6), "one for all choices (§3)", (STREAMED,)),
    Scenario("usage, declined", {"stream_options": {"include_usage": False}}, ECHO, (3, 3), "no key usage at all (§3; #12, #14)", (STREAMED,)),
    Scenario("usage and tool calls", {"tools": TOOLS, "stream_options": {"include_usage": True}, "scripted": {"tool_calls": [WEATHER]}},
             [says(finish="tool_calls", tool_calls=[ONE_CALL])], (3, 0), "the flag does not change the chunks (#15)", (STREAMED,)),
    Scenario("padding", {"stream_options": {"include_obfuscation": True, "include_usage": True}}, ECHO, (3, 3), "clients ignore obfuscation (§3)", (STREAMED,)),
    Scenario("stream_options {}", {"stream_options": {}}, ECHO, (3, 3), "both members are optional (§1)", (STREAMED,)),
    Scenario(
        "parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello "}, {"type": "text", "text": "parts"}]}]},
        [says("hello parts")], (2, 2), "content as a list (§1.1)",
    ),
    Scenario(
        "parts of every kind",
        {"messages": [
            {"role": "system", "content": [{"type": "text", "text": "be kind", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f"}},
                {"type": "text", "text": "look"},
            ]},
        ]},
        [says("look")], (3, 1), "images, sound, files (§1.1)",
    ),
    Scenario(
        "roles", {"messages": [{"role": "developer", "content": "be brief"}, {"role": "system", "content": "be kind", "name": "s"}, HELLO]},
        ECHO, (7, 3), "developer beside system (§1.1; #47)",
    ),
    Scenario(
        "tool results", {
            "tools": TOOLS,
            "messages": [
                HELLO,
                {"role": "assistant", "content": None, "tool_calls": [{"id": "9charsid1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "9charsid1", "content": "rain"},
                {"role": "assistant", "tool_calls": [{"id": "", "type": "custom", "custom": {"name": "c", "input": "x"}}]},
                {"role": "tool", "tool_call_id": "", "content": [{"type": "text", "text": "fine"}]},
                {"role": "user", "content": "so?"},
            ],
        },
        [says("so?")], (6, 1), "any id is good; results as parts (§1.1; #26, #48)",
    ),
    Scenario("an answer, sent back with all its keys", {"messages": [HELLO, REPLAYED, HELLO]}, ECHO, (6, 3), "accepted and ignored (§1.1; #24, #46)"),
    Scenario(
        "functions", {
            "functions": [{"name": "f"}], "function_call": "auto",
            "messages": [
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "1"}, HELLO,
            ],
        },
        ECHO, (4, 3), "deprecated, and still sent (§1)",
    ),
    Scenario("custom tools", {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}}}]},
             ECHO, (3, 3), "tools whose input is text (§1.2)"),
    Scenario("no tools", {"tools": [], "parallel_tool_calls": False}, ECHO, (3, 3), "[] is absent (#24), and the flag alone is accepted (#29)"),
    Scenario("unknown keys", {"top_k": 40, "chat_template_kwargs": {"enable_thinking": False, "none": None}, "messages": [{**HELLO, "id": "m1", "timestamp": 5}]},
             ECHO, (3, 3), "accepted on top and in messages (#46)"),
    Scenario("an unknown key of an unlucky name", {"extra_json": "x"}, ECHO, (3, 3), "the contract's own names are unknown to OpenAI (#46)"),
    Scenario("null", dict.fromkeys(NULLABLE), ECHO, (3, 3), "null is absent (§1)"),
    Scenario(
        "zero", {"temperature": 0, "top_p": 0, "frequency_penalty": 0, "presence_penalty": 0, "seed": 0, "logprobs": True, "top_logprobs": 0, "metadata": {}, "logit_bias": {"0": 0}},
        [says("hello there world", logprobs={"content": [token("hello"), token(" there"), token(" world")]})], (3, 3), "zero is a value (§7)",
    ),
    Scenario(
        "sampling", {"temperature": 2, "top_p": 0.1, "frequency_penalty": -2, "presence_penalty": 1.5, "seed": -(2**63), "logit_bias": {"50256": -100, "7": 100}},
        ECHO, (3, 3), "all in range (§1)",
    ),
    Scenario(
        "everything else", {
            "metadata": {"team": "ü" * 512}, "user": "u", "safety_identifier": "s", "store": False, "prompt_cache_key": "k",
            "prompt_cache_options": {"mode": "explicit", "ttl": "30m"}, "prompt_cache_retention": "24h", "service_tier": "auto",
            "reasoning_effort": "minimal", "verbosity": "low", "modalities": ["text"], "prediction": {"type": "content", "content": "hello"},
            "web_search_options": {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"country": "DE"}}},
            "moderation": {"model": "m", "policy": {"input": {"mode": "score"}}},
        },
        ECHO, (3, 3), "accepted (§1)",
    ),
    Scenario(
        "response_format json_schema",
        {
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {"type": "object", "properties": {"b": {}, "a": {"maximum": 2**63}}}}},
            "scripted": {"content": '{"b": 1, "a": 2}'},
        },
        [says('{"b": 1, "a": 2}')], (3, 4), "content is the JSON, as text (§1.4)",
    ),
    Scenario("response_format json_object", {"response_format": {"type": "json_object"}, "scripted": {"content": "{}"}}, [says("{}")], (3, 1), "the same (§1.4)"),
    Scenario("response_format text", {"response_format": {"type": "text"}}, ECHO, (3, 3), "the default, said aloud (§1.4)"),
]  # fmt: skip


def cases() -> list[tuple[Scenario, str]]:
    """Each scenario in each of its modes."""
    return [(scenario, mode) for scenario in SCENARIOS for mode in scenario.modes]


def case_id(value: object) -> str:
    return value.name if isinstance(value, Scenario) else str(value)
