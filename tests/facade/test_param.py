"""From the contract's paths to OpenAI's."""

# ruff: noqa: E501  # tables read better in one line a row

from __future__ import annotations

import pytest

from diglot.facade.param import to_param


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("", None),
        ("extra_json", None),
        ("extra_json.top_k", "top_k"),
        ("messages[0].parts[1].extra_json", "messages[0].content[1]"),
        ("messages[0].parts[1].extra_json.cache_control", "messages[0].content[1].cache_control"),
        ("model", "model"),
        ("stop[3]", "stop[3]"),
        ("logit_bias", "logit_bias"),
        ("messages[2].content", "messages[2].content"),
        ("messages[2].parts", "messages[2].content"),
        ("messages[2].parts[10]", "messages[2].content[10]"),
        ("messages[2].parts[0].text.text", "messages[2].content[0].text"),
        ("messages[2].parts[0].text", "messages[2].content[0].text"),
        ("messages[2].parts[0].refusal.refusal", "messages[2].content[0].refusal"),
        ("messages[2].parts[0].image_url.url", "messages[2].content[0].image_url.url"),
        ("messages[2].tool_calls[0].function.arguments", "messages[2].tool_calls[0].function.arguments"),
        ("prediction.parts[0].text.text", "prediction.content[0].text"),
        ("tools[0].function.parameters_json", "tools[0].function.parameters"),
        ("functions[1].parameters_json", "functions[1].parameters"),
        ("tools[0].custom.grammar.definition", "tools[0].custom.format.grammar.definition"),
        ("tools[0].custom.grammar", "tools[0].custom.format.grammar"),
        ("tools[0].custom.text", "tools[0].custom.format"),
        ("tools[0].custom.name", "tools[0].custom.name"),
        ("response_format.json_schema.schema_json", "response_format.json_schema.schema"),
        ("response_format.text", "response_format"),
        ("response_format.json_object", "response_format"),
        ("tool_choice.mode", "tool_choice"),
        ("tool_choice.function_name", "tool_choice.function.name"),
        ("tool_choice.custom_name", "tool_choice.custom.name"),
        ("tool_choice.allowed_tools.mode", "tool_choice.allowed_tools.mode"),
        ("tool_choice.allowed_tools.tools_json[1]", "tool_choice.allowed_tools.tools[1]"),
        ("function_call.mode", "function_call"),
        ("function_call.name", "function_call.name"),
        ("audio.voice_name", "audio.voice"),
        ("audio.voice_id", "audio.voice.id"),
        ("web_search_options.user_location.country", "web_search_options.user_location.approximate.country"),
        ("web_search_options.user_location", "web_search_options.user_location"),
    ],
)  # fmt: skip
def test_paths(field: str, param: str | None) -> None:
    assert to_param(field) == param
