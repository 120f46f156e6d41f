"""What a request must be, before any model sees it: one table of rules.

A rule looks at one field and yields what is wrong with it. Every rule holds for both faces,
whatever the model; what only some models can do is the engine's to refuse, and so are open
sets of words (reasoning_effort, service_tier, …): they grow faster than this table. The
wording follows OpenAI's, and fields are named by their path in the contract.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from diglot.v1 import message_pb2 as m
from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from .errors import ChatError, InvalidSchema, InvalidValue, MissingValue

Rule = Callable[[CreateChatCompletionRequest], Iterator[ChatError]]

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

ROLES_OF_PART = {
    "text": {m.ROLE_DEVELOPER, m.ROLE_SYSTEM, m.ROLE_USER, m.ROLE_ASSISTANT, m.ROLE_TOOL},
    "image_url": {m.ROLE_USER},
    "input_audio": {m.ROLE_USER},
    "file": {m.ROLE_USER},
    "refusal": {m.ROLE_ASSISTANT},
}
MAY_LACK_CONTENT = {m.ROLE_ASSISTANT, m.ROLE_FUNCTION}


def check(request: CreateChatCompletionRequest) -> None:
    """Raises the first thing that is wrong, in the order of the table."""
    for rule in RULES:
        for error in rule(request):
            raise error


def required(field: str) -> Rule:
    def rule(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if not getattr(request, field):
            yield MissingValue(f"Missing required parameter: '{field}'.", field=field)

    return rule


def between(field: str, low: float, high: float) -> Rule:
    def rule(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        if request.HasField(field):  # type: ignore[arg-type]  # typed as literals
            yield from _between(field, getattr(request, field), low, high)

    return rule


def _between(field: str, value: float, low: float, high: float) -> Iterator[ChatError]:
    if not low <= value <= high:  # also refuses NaN
        yield InvalidValue(
            f"Invalid value for '{field}': expected a number from {low} to {high}, "
            f"but got {value:.12g}.",
            field=field,
        )


def _at_most(field: str, count: int, most: int) -> Iterator[ChatError]:
    if count > most:
        yield InvalidValue(
            f"Invalid '{field}': expected at most {most}, but got {count}.", field=field
        )


def messages(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if not request.messages:
        yield MissingValue(
            "Invalid 'messages': empty array. Expected at least 1 message.", field="messages"
        )
    for index, message in enumerate(request.messages):
        yield from _message(f"messages[{index}]", message)


def _message(path: str, message: m.Message) -> Iterator[ChatError]:
    role = message.role
    if role == m.ROLE_UNSPECIFIED or role not in m.Role.values():
        yield MissingValue(f"Missing required parameter: '{path}.role'.", field=f"{path}.role")
    if message.HasField("content") and message.parts:
        yield InvalidValue(f"'{path}' has both content and parts: set one.", field=f"{path}.parts")
    for place, part in enumerate(message.parts):
        kind = part.WhichOneof("part")
        where = f"{path}.parts[{place}]"
        if kind is None:
            yield MissingValue(f"'{where}' is empty: set one kind of part.", field=where)
        elif role not in ROLES_OF_PART[kind]:
            name = m.Role.Name(role)[len("ROLE_") :].lower()
            yield InvalidValue(
                f"A {name} message cannot hold a part of type '{kind}'.", field=where
            )
    lacks_content = not message.HasField("content") and not message.parts
    if lacks_content and role not in MAY_LACK_CONTENT:
        yield MissingValue(
            f"Missing required parameter: '{path}.content'.", field=f"{path}.content"
        )
    if role == m.ROLE_ASSISTANT and lacks_content and not _says_otherwise(message):
        yield MissingValue(
            f"'{path}' is an assistant message without content, tool calls or refusal.",
            field=f"{path}.content",
        )
    if role == m.ROLE_TOOL and not message.HasField("tool_call_id"):
        yield MissingValue(
            f"Missing required parameter: '{path}.tool_call_id'.", field=f"{path}.tool_call_id"
        )
    if role == m.ROLE_FUNCTION and not message.name:
        yield MissingValue(f"Missing required parameter: '{path}.name'.", field=f"{path}.name")
    for place, call in enumerate(message.tool_calls):
        if call.WhichOneof("call") is None:
            where = f"{path}.tool_calls[{place}]"
            yield MissingValue(f"'{where}' is empty: set function or custom.", field=where)


def _says_otherwise(message: m.Message) -> bool:
    return bool(
        message.tool_calls
        or message.HasField("function_call")
        or message.HasField("refusal")
        or message.HasField("audio")
        or message.HasField("reasoning_content")
    )


def token_limits(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.HasField("max_tokens") and request.HasField("max_completion_tokens"):
        yield InvalidValue(
            "Set only one of 'max_tokens' and 'max_completion_tokens'.", field="max_tokens"
        )


def stop(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    yield from _at_most("stop", len(request.stop), 4)
    for index, text in enumerate(request.stop):
        if not text:
            yield InvalidValue(f"Invalid 'stop[{index}]': empty string.", field=f"stop[{index}]")


def top_logprobs(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.HasField("top_logprobs") and not request.logprobs:
        yield InvalidValue("'top_logprobs' needs 'logprobs' to be true.", field="top_logprobs")


def logit_bias(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for token, bias in request.logit_bias.items():
        if token < 0:
            yield InvalidValue(f"Invalid token id {token} in 'logit_bias'.", field="logit_bias")
        yield from _between("logit_bias", bias, -100, 100)


def tools(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, tool in enumerate(request.tools):
        kind = tool.WhichOneof("tool")
        if kind is None:
            yield MissingValue(f"'tools[{index}]' is empty.", field=f"tools[{index}]")
        elif kind == "function":
            yield from _function(f"tools[{index}].function", tool.function)
        else:
            yield from _name(f"tools[{index}].custom.name", tool.custom.name)
    for index, function in enumerate(request.functions):
        yield from _function(f"functions[{index}]", function)
    yield from _at_most("functions", len(request.functions), 128)


def _function(path: str, function: t.FunctionDefinition) -> Iterator[ChatError]:
    yield from _name(f"{path}.name", function.name)
    if function.HasField("parameters_json"):
        yield from _json_object(f"{path}.parameters_json", function.parameters_json)


def _name(field: str, name: str) -> Iterator[ChatError]:
    if not NAME.fullmatch(name):
        yield InvalidValue(
            f"Invalid '{field}': expected 1 to 64 letters, digits, underscores or dashes.",
            field=field,
        )


def _json_object(field: str, text: str) -> Iterator[ChatError]:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        yield InvalidSchema(f"'{field}' is not valid JSON.", field=field)
        return
    if not isinstance(value, dict):
        yield InvalidSchema(f"'{field}' is not a JSON object.", field=field)


def tool_choice(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if not request.HasField("tool_choice"):
        return
    choice = request.tool_choice
    kind = choice.WhichOneof("choice")
    if kind is None:
        yield MissingValue("'tool_choice' is empty.", field="tool_choice")
    if kind == "mode" and choice.mode == t.TOOL_CHOICE_MODE_UNSPECIFIED:
        yield InvalidValue("'tool_choice' has no mode.", field="tool_choice")
    forces = kind != "mode" or choice.mode == t.TOOL_CHOICE_MODE_REQUIRED
    if forces and not request.tools:
        yield InvalidValue(
            "'tool_choice' is only allowed when 'tools' are specified.", field="tool_choice"
        )
    named = choice.function_name or choice.custom_name
    if kind in ("function_name", "custom_name") and named not in _tool_names(request):
        yield InvalidValue(f"Tool '{named[:64]}' is not among 'tools'.", field="tool_choice")


def _tool_names(request: CreateChatCompletionRequest) -> set[str]:
    return {tool.function.name or tool.custom.name for tool in request.tools}


def response_format(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if not request.HasField("response_format"):
        return
    kind = request.response_format.WhichOneof("format")
    if kind is None:
        yield MissingValue("'response_format' is empty.", field="response_format")
    if kind == "json_schema":
        schema = request.response_format.json_schema
        yield from _name("response_format.json_schema.name", schema.name)
        if schema.HasField("schema_json"):
            yield from _json_object("response_format.json_schema.schema_json", schema.schema_json)


def audio(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, modality in enumerate(request.modalities):
        if modality not in ("text", "audio"):
            yield InvalidValue(
                f"Invalid 'modalities[{index}]': expected 'text' or 'audio'.",
                field=f"modalities[{index}]",
            )
    if "audio" in request.modalities and not request.HasField("audio"):
        yield MissingValue("The modality 'audio' needs the parameter 'audio'.", field="audio")


def metadata(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    yield from _at_most("metadata", len(request.metadata), 16)
    for key, value in request.metadata.items():
        if not 1 <= len(key) <= 64 or len(value) > 512:
            yield InvalidValue(
                "Invalid 'metadata': keys have 1 to 64 characters, values up to 512.",
                field="metadata",
            )


def extra_json(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if not request.HasField("extra_json"):
        return
    for error in _json_object("extra_json", request.extra_json):
        yield error
        return
    known = {*request.DESCRIPTOR.fields_by_name, "stream"} - {"extra_json"}
    for key in json.loads(request.extra_json):
        if key in known:
            yield InvalidValue(
                f"'{key}' in 'extra_json' has a field of its own: set that.", field="extra_json"
            )


RULES: tuple[Rule, ...] = (
    required("model"),
    messages,
    between("temperature", 0, 2),
    between("top_p", 0, 1),
    between("frequency_penalty", -2, 2),
    between("presence_penalty", -2, 2),
    between("n", 1, 128),
    between("max_completion_tokens", 1, 2**31 - 1),
    between("max_tokens", 1, 2**31 - 1),
    token_limits,
    stop,
    between("top_logprobs", 0, 20),
    top_logprobs,
    logit_bias,
    tools,
    tool_choice,
    response_format,
    audio,
    metadata,
    extra_json,
)
