"""What each row of the core's table of refusals refuses: examples over both faces.

As OpenAI has the request, or as text of the contract where JSON has no way to say it. The
model behind them has no capability at all, so that every row of the table is at work.
"""

# ruff: noqa: E501  # a table reads better in one line a row

from __future__ import annotations

from dataclasses import dataclass

from .plain import Json
from .scenarios import HELLO

TOOL: Json = {"type": "function", "function": {"name": "f"}}


@dataclass(frozen=True)
class Refused:
    field: str
    refuses: str
    """These two name the row."""
    request: Json | str
    """What is added to a good request."""
    param: str | None = None
    """OpenAI's name of the place, where it is not `field`."""

    @property
    def row(self) -> tuple[str, str]:
        return self.field, self.refuses

    @property
    def body(self) -> Json:
        assert isinstance(self.request, dict)
        return {"model": "scripted", "messages": [HELLO], **self.request}

    @property
    def text(self) -> str:
        return f'model: "scripted" messages {{ role: ROLE_USER content: "hi" }} {self.request}'


def user(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, *parts]}]}


def message(**fields: object) -> Json:
    return {"messages": [HELLO, fields]}


def tool(**function: object) -> Json:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


SCHEMA = "response_format.json_schema"

REFUSED = [
    Refused("model", "absent", {"model": ""}),
    Refused("messages", "empty", {"messages": []}),
    Refused("messages[].role", "absent", 'messages { content: "x" }'),
    Refused("messages[].parts", "beside content, empty, or of a kind that the role cannot hold",
            message(role="system", content=[{"type": "image_url", "image_url": {"url": "data:,"}}]), "messages[1].content[0]"),
    Refused("messages[].parts", "beside content, empty, or of a kind that the role cannot hold", "messages { role: ROLE_USER parts { } }"),
    Refused("messages[].content", "absent where nothing else is said", message(role="assistant"), "messages[1].content"),
    Refused("messages[].tool_call_id", "absent from a result (a function's: its name)", 'messages { role: ROLE_TOOL content: "x" }'),
    Refused("messages[].tool_calls[]", "empty", "messages { role: ROLE_ASSISTANT tool_calls { } }"),
    Refused("temperature", "outside 0 to 2", {"temperature": 2.5}),
    Refused("top_p", "outside 0 to 1", {"top_p": -0.5}),
    Refused("frequency_penalty", "outside -2 to 2", {"frequency_penalty": 3}),
    Refused("presence_penalty", "outside -2 to 2", {"presence_penalty": -3}),
    Refused("n", "outside 1 to 128", {"n": 129}),
    Refused("max_completion_tokens", "outside 1 to 2147483647", {"max_completion_tokens": 0}),
    Refused("max_tokens", "outside 1 to 2147483647", {"max_tokens": 0}),
    Refused("max_tokens", "beside max_completion_tokens", {"max_tokens": 1, "max_completion_tokens": 1}),
    Refused("stop", "more than 4, or empty strings", {"stop": list("abcde")}),
    Refused("top_logprobs", "outside 0 to 20", {"logprobs": True, "top_logprobs": 21}),
    Refused("top_logprobs", "without logprobs", {"top_logprobs": 1}),
    Refused("logit_bias", "negative token ids, and biases outside -100 to 100", {"logit_bias": {"7": -101}}),
    Refused("tools[].name", "not 1 to 64 letters, digits, underscores or dashes", tool(name="no spaces"), "tools[0].function.name"),
    Refused("tools[].parameters", "not a JSON Schema", tool(parameters={"type": "any"}), "tools[0].function.parameters"),
    Refused("tools[].custom.grammar.syntax", "neither lark nor regex",
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "ebnf", "definition": "x"}}}}]},
            "tools[0].custom.format.grammar.syntax"),
    Refused("tool_choice", "empty, or forcing a call where there are no tools", {"tool_choice": "required"}),
    Refused("tool_choice", "naming a tool that is not among the tools", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
    Refused("functions", "beside tools", {"tools": [TOOL], "functions": [{"name": "g"}]}),
    Refused("function_call", "empty, or naming a function that is not among the functions", {"functions": [{"name": "f"}], "function_call": {"name": "g"}}),
    Refused("response_format", "empty", "response_format { }"),
    Refused(SCHEMA, "without a good name, or not a JSON Schema", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "any"}}}}, f"{SCHEMA}.schema"),
    Refused(SCHEMA, "without a good name, or not a JSON Schema", {"response_format": {"type": "json_schema", "json_schema": {"name": ""}}}, f"{SCHEMA}.name"),
    Refused("modalities", "neither text nor audio", {"modalities": ["smell"]}, "modalities[0]"),
    Refused("audio", "absent for the modality audio", {"modalities": ["audio"]}),
    Refused("prediction", "empty, or with parts that are no text", {"prediction": {"type": "content", "content": []}}),
    Refused("prediction", "empty, or with parts that are no text", "prediction { parts { } }"),
    Refused("metadata", "more than 16 pairs, keys over 64 or values over 512 characters", {"metadata": {"k" * 65: "v"}}),
    Refused("extra_json", "not a JSON object, or a key that has a field of its own", "extra_json: '[]'"),
    Refused("messages[].extra_json", "not a JSON object, or a key that has a field of its own", "messages { role: ROLE_ASSISTANT content: '' extra_json: '{\"role\":1}' }"),
    Refused("tools[].extra_json", "not a JSON object, or a key that has a field of its own", "tools { function { name: 'f' } extra_json: '{' }"),

    Refused("tools", "any", {"tools": [TOOL]}),
    Refused("functions", "any", {"functions": [{"name": "f"}]}),
    Refused("tools[].custom.grammar.syntax", "lark",
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}}], "tool_choice": "none"},
            "tools[0].custom.format.grammar.syntax"),
    Refused("messages[].parts[].image_url", "any", user({"type": "image_url", "image_url": {"url": "data:,"}}), "messages[0].content[1]"),
    Refused("messages[].parts[].input_audio", "any", user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "messages[0].content[1]"),
    Refused("messages[].parts[].file", "any", user({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[1]"),
    Refused("messages[].parts", "images, sound or files in a tool's result", message(role="tool", tool_call_id="c", content=[{"type": "image_url", "image_url": {"url": "data:,"}}]), "messages[1].content[0]"),
    Refused("messages[].parts[].other_json", "any", user({"type": "video_url", "video_url": {"url": "https://x"}}), "messages[0].content[1]"),
    Refused("modalities", "audio", {"modalities": ["text", "audio"], "audio": {"format": "wav", "voice": "alloy"}}),
    Refused("audio", "any", {"audio": {"format": "wav", "voice": "alloy"}}),
    Refused("web_search_options", "any", {"web_search_options": {}}),
    Refused("moderation", "any", {"moderation": {"model": "m"}}),
    Refused("prediction", "any", {"prediction": {"type": "content", "content": "x"}}),
    Refused("reasoning_effort", "any but none", {"reasoning_effort": "low"}),
    Refused("verbosity", "any but medium", {"verbosity": "high"}),
    Refused("service_tier", "any but auto and default", {"service_tier": "flex"}),
]  # fmt: skip

PASSED: list[Json] = [
    {"reasoning_effort": "none", "verbosity": "medium", "service_tier": "auto"},
    {"tools": [TOOL], "tool_choice": "none"},
    {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
    {"modalities": ["text"], "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
    {"temperature": None, "stop": None, "tools": None, "store": None, "n": None},
]
"""What even a model without any capability takes."""
