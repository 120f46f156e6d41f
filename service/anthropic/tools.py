"""The tools of a request, and which of them the model must call."""

from __future__ import annotations

import json
from typing import Any

from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..upstream.request_json import present
from ..validation.tools import allowed_name
from .blocks import vendor_keys

Json = dict[str, Any]

_CHOICES = {
    t.TOOL_CHOICE_MODE_NONE: "none",
    t.TOOL_CHOICE_MODE_AUTO: "auto",
    t.TOOL_CHOICE_MODE_REQUIRED: "any",
}


def tools_of(request: CreateChatCompletionRequest) -> Json:
    """`tools` and `tool_choice`; neither where there are no tools."""
    if not request.tools:
        return {}
    tools = list(enumerate(request.tools))
    choice = request.tool_choice
    chosen: Json = {"type": "auto"}
    match choice.WhichOneof("choice"):
        case "function_name":
            chosen = {"type": "tool", "name": choice.function_name}
        case "allowed_tools":
            # The API cannot set tools aside: those that are not allowed stay away.
            allowed = {allowed_name(text) for text in choice.allowed_tools.tools_json}
            tools = [(place, tool) for place, tool in tools if tool.function.name in allowed]
            chosen = {"type": _CHOICES.get(choice.allowed_tools.mode, "auto")}
        case "mode":
            chosen = {"type": _CHOICES[choice.mode]}
    body: Json = {"tools": [_tool(tool, f"tools[{place}]") for place, tool in tools]}
    alone = request.HasField("parallel_tool_calls") and not request.parallel_tool_calls
    if alone and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    if chosen != {"type": "auto"}:
        body["tool_choice"] = chosen
    return body


def _tool(asked: t.Tool, path: str) -> Json:
    function = asked.function
    schema: Json = json.loads(function.parameters_json) if function.parameters_json else {}
    # Arguments are an object in any case, but here a schema must say so.
    tool: Json = {"name": function.name, "input_schema": {"type": "object"} | schema}
    tool |= present(function, ("description",))
    if function.strict:
        tool["strict"] = True
    tool |= vendor_keys(function, tool, f"{path}.function")
    return tool | vendor_keys(asked, tool, path)
