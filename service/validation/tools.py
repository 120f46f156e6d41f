"""Rules about tools, and about every JSON Schema in a request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from diglot.v1 import chat_pb2
from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..errors import ChatError, InvalidSchema, InvalidValue, MissingValue, UnsupportedValue
from ..json_schema import SchemaError, compiled
from .rule import more_than

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Over gRPC any number can come.
_MODES = {mode for mode in t.ToolChoiceMode.values() if mode != t.TOOL_CHOICE_MODE_UNSPECIFIED}


def names(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, tool in enumerate(request.tools):
        kind = tool.WhichOneof("tool")
        if kind is None:
            yield MissingValue(f"'tools[{index}]' is empty.", field=f"tools[{index}]")
        else:
            yield from name(f"tools[{index}].{kind}.name", getattr(tool, kind).name)
    for index, function in enumerate(request.functions):
        yield from name(f"functions[{index}].name", function.name)
    yield from more_than("functions", len(request.functions), 128)


def name(field: str, text: str) -> Iterator[ChatError]:
    if not NAME.fullmatch(text):
        yield InvalidValue(
            f"Invalid '{field}': expected 1 to 64 letters, digits, underscores or dashes.",
            field=field,
        )


def parameters(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, tool in enumerate(request.tools):
        yield from _parameters(f"tools[{index}].function", tool.function)
    for index, function in enumerate(request.functions):
        yield from _parameters(f"functions[{index}]", function)


def _parameters(path: str, function: t.FunctionDefinition) -> Iterator[ChatError]:
    if function.HasField("parameters_json"):
        where = f"function '{function.name}'"
        yield from _schema(f"{path}.parameters_json", function.parameters_json, where)


def _schema(field: str, text: str, where: str) -> Iterator[ChatError]:
    if not text.lstrip().startswith("{"):
        yield InvalidSchema(f"Invalid schema for {where}: it is not a JSON object.", field=field)
    try:
        compiled(text)
    except SchemaError as error:
        yield InvalidSchema(f"Invalid schema for {where}: {error}.", field=field)


def grammars(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, tool in enumerate(request.tools):
        syntax = tool.custom.grammar.syntax
        if tool.custom.WhichOneof("format") == "grammar" and syntax not in ("lark", "regex"):
            field = f"tools[{index}].custom.grammar.syntax"
            yield InvalidValue(f"Invalid '{field}': expected 'lark' or 'regex'.", field=field)


def lark(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    """For models that follow only grammars of the syntax regex."""
    for index, tool in enumerate(request.tools):
        if tool.custom.grammar.syntax == "lark":
            yield UnsupportedValue(
                "This model follows grammars of the syntax 'regex' only.",
                field=f"tools[{index}].custom.grammar.syntax",
            )


def choice(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if not request.HasField("tool_choice"):
        return
    chosen = request.tool_choice
    kind = chosen.WhichOneof("choice")
    if kind is None:
        yield MissingValue("'tool_choice' is empty.", field="tool_choice")
    if kind == "mode" and chosen.mode not in _MODES:
        yield InvalidValue("'tool_choice' has no mode.", field="tool_choice")
    forces = kind != "mode" or chosen.mode == t.TOOL_CHOICE_MODE_REQUIRED
    if forces and not request.tools:
        yield InvalidValue(
            "'tool_choice' is only allowed when 'tools' are specified.", field="tool_choice"
        )


def chosen(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    asked = request.tool_choice
    functions = {tool.function.name for tool in request.tools if tool.HasField("function")}
    customs = {tool.custom.name for tool in request.tools if tool.HasField("custom")}
    match asked.WhichOneof("choice"):
        case "function_name":
            if asked.function_name not in functions:
                yield _unknown(asked.function_name, "tool_choice")
        case "custom_name":
            if asked.custom_name not in customs:
                yield _unknown(asked.custom_name, "tool_choice")
        case "allowed_tools":
            if asked.allowed_tools.mode not in _MODES:
                yield InvalidValue(
                    "'tool_choice.allowed_tools' has no mode.",
                    field="tool_choice.allowed_tools.mode",
                )
            if not asked.allowed_tools.tools_json:
                yield MissingValue(
                    "'tool_choice.allowed_tools.tools' is empty.",
                    field="tool_choice.allowed_tools.tools_json",
                )
            for index, text in enumerate(asked.allowed_tools.tools_json):
                named = allowed_name(text)
                if named not in functions | customs:
                    yield _unknown(named or "", f"tool_choice.allowed_tools.tools_json[{index}]")


def allowed_name(text: str) -> str | None:
    """The tool that an entry of allowed_tools means; None if it names none."""
    try:
        entry: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    body = entry.get(str(entry.get("type")))
    named = (body if isinstance(body, dict) else entry).get("name")
    return named if isinstance(named, str) else None


def _unknown(named: str, field: str) -> ChatError:
    return InvalidValue(f"Tool '{named[:64]}' is not among 'tools'.", field=field)


def function_call(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if not request.HasField("function_call"):
        return
    kind = request.function_call.WhichOneof("choice")
    if kind is None:
        yield MissingValue("'function_call' is empty.", field="function_call")
    if kind == "mode" and request.function_call.mode not in _MODES:
        yield InvalidValue("'function_call' has no mode.", field="function_call")
    named = request.function_call.name
    if kind == "name" and named not in {function.name for function in request.functions}:
        yield InvalidValue(
            f"Function '{named[:64]}' is not among 'functions'.", field="function_call"
        )


def both_kinds(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.tools and request.functions:
        yield InvalidValue("Set only one of 'tools' and 'functions'.", field="functions")


def response_format(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.HasField("response_format") and request.response_format.WhichOneof("format") is None:
        yield MissingValue("'response_format' is empty.", field="response_format")


def answer_schema(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.response_format.WhichOneof("format") != "json_schema":
        return
    schema: chat_pb2.JsonSchemaResponse = request.response_format.json_schema
    yield from name("response_format.json_schema.name", schema.name)
    if schema.HasField("schema_json"):
        field = "response_format.json_schema.schema_json"
        yield from _schema(field, schema.schema_json, f"response_format '{schema.name}'")
